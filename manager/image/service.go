package image

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/registry"
	"github.com/conex-containers/conex/manager/snapshot"
)

// Parts are what a Service works with and how.
type Parts struct {
	Content   *content.Store
	Snapshots snapshot.Snapshotter
	// Snapshotter is the name in the collector's label containerd.io/gc.ref.snapshot.<name>; default "overlayfs".
	Snapshotter string
	DB          *metadata.DB
	Leases      *lease.Manager
	Registry    *registry.Client
	// Collect frees what nothing refers to any more and returns the bytes; called after removals. nil: never.
	Collect func(context.Context) (int64, error)
	// Notify is told what changed: action is pull, push, tag, untag, delete, load, import, save or prune, as in
	// Docker's events. nil: nobody.
	Notify  func(ctx context.Context, ns, action, id, name string)
	Product string // version of this program, which documents name
	// Admission decides which images may come in by pull, load and copy (manager/policy). nil: all.
	Admission Admission
	Downloads int // layers of one pull side by side, default 3 (max-concurrent-downloads)
	Uploads   int // of one push, default 5 (max-concurrent-uploads)
}

// Service keeps image records and moves images in and out. It is safe for concurrent use.
type Service struct {
	Parts
	cache   cache
	chains  keyedLocks // one unpack per chainID at a time
	flights keyedLocks // one fetch of a manifest or config at a time
	index   sync.Mutex // one rewrite of index.json at a time
}

// New returns the service.
func New(c Parts) *Service {
	if c.Snapshotter == "" {
		c.Snapshotter = "overlayfs"
	}
	if c.Downloads <= 0 {
		c.Downloads = 3
	}
	if c.Uploads <= 0 {
		c.Uploads = 5
	}
	if c.Notify == nil {
		c.Notify = func(context.Context, string, string, string, string) {}
	}
	if c.Collect == nil {
		c.Collect = func(context.Context) (int64, error) { return 0, nil }
	}
	return &Service{Parts: c, cache: cache{docs: map[digest.Digest]*document{}}}
}

// Login checks credentials at their server (auth.ServerAddress, a registry's host, or "" for docker.io) and returns
// the identity token to keep instead of the password, "" when the server gives none.
func (s *Service) Login(ctx context.Context, auth Auth) (string, error) {
	domain := serverDomain(auth.ServerAddress)
	token, err := s.Registry.Login(ctx, domain, auth.credentials())
	if err != nil {
		return "", fmt.Errorf("login %s: %w", domain, err)
	}
	return token, nil
}

// CheckRegistry tries what a pull would do; name is HOST or HOST/REPOSITORY.
func (s *Service) CheckRegistry(ctx context.Context, name string, auth Auth) (docker.RegistryCheck, error) {
	host, path, whole := strings.Cut(name, "/")
	if !whole {
		path = "any" // of the grammar only
	}
	ref, err := ParseReference(host + "/" + path)
	if err != nil || (ref.Domain != host && host != legacyDomain) || ref.Tag != "" || ref.Digest != "" {
		return docker.RegistryCheck{}, errdefs.InvalidArgument("registry %q: write HOST[:PORT] or HOST[:PORT]/REPOSITORY, as in docker.io/library/alpine", name)
	}
	if auth.ServerAddress != "" && serverDomain(auth.ServerAddress) != ref.Domain {
		auth = Auth{}
	}
	if !whole {
		ref.Path = ""
	}
	return s.Registry.Check(ctx, ref.Domain, ref.Path, auth.credentials()), nil
}

// keyedLocks is a mutex per key that exists while somebody uses it.
type keyedLocks struct {
	mu    sync.Mutex
	locks map[string]chan struct{}
}

// lock waits for key, or for the end of ctx.
func (k *keyedLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		held, busy := k.locks[key]
		if !busy {
			if k.locks == nil {
				k.locks = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			k.locks[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.locks, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
