// Package gc frees what nothing refers to any more: one collector for blobs and snapshots together.
//
//	roots:  image records of all namespaces ─▶ target blob        leases ─▶ blobs, snapshots
//	        container records ─▶ their snapshot                   label containerd.io/gc.root
//	        active and view snapshots of this process
//	edges:  index ─▶ manifests ─▶ config and layers               config ─▶ snapshots of its chainIDs
//	        labels containerd.io/gc.ref.{content,snapshot}        snapshot ─▶ parent
//
// A run lists what there is, marks from the roots, and deletes what was on the list and is not marked; so nothing
// that was made after it began can go. Deleting waits for no pull and a pull waits only for the deletion: see
// package lease for the rule that makes it safe.
package gc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
)

// Blobs is the content store (manager/content).
type Blobs interface {
	Walk(ctx context.Context, fn func(content.Info) error) error
	Reader(ctx context.Context, d digest.Digest) (*content.Blob, error)
	ReadAll(ctx context.Context, d digest.Digest, max int64) ([]byte, error)
	DeleteAll(ctx context.Context, digests []digest.Digest) ([]content.Info, error)
	AbandonIngests(age time.Duration) (int, error)
}

// Snapshots is the snapshotter (manager/snapshot).
type Snapshots interface {
	Walk(ctx context.Context, fn func(snapshot.Info) error) error
	Remove(ctx context.Context, key string) error
	// Inherited reports whether an earlier process made the snapshot: what it was doing then is over.
	Inherited(key string) bool
}

// Leases are the leases (manager/lease).
type Leases interface {
	All(ctx context.Context) ([]lease.Lease, error)
	Expire(ctx context.Context) (int, error)
	Hold(fn func() error) error
}

// Config is what a Collector works with.
type Config struct {
	DB        *metadata.DB
	Volatile  *metadata.DB // records of `--rm` containers; may be nil
	Content   Blobs
	Snapshots Snapshots
	Leases    Leases
	// Done is told what each run that Trigger started freed; may be nil.
	Done func(Report, error)
}

// Report says what a run freed.
type Report struct {
	Blobs     []digest.Digest
	Snapshots []string
	Bytes     int64 // of both
}

// Collector is the one garbage collector. For concurrent use; runs follow one another.
type Collector struct {
	Config
	running sync.Mutex

	mu      sync.Mutex
	wanted  bool // by Trigger, not begun yet
	working bool // Trigger's goroutine is there
	closed  bool
	done    sync.WaitGroup
}

// New returns a Collector. It runs only when it is told to.
func New(c Config) *Collector { return &Collector{Config: c} }

// tries is how often a run marks again when image records changed meanwhile, before it leaves the rest to the next.
const tries = 4

// Run frees what nothing refers to, as of a moment after the call, and reports it.
func (c *Collector) Run(ctx context.Context) (Report, error) {
	c.running.Lock()
	defer c.running.Unlock()
	var r Report
	if _, err := c.Leases.Expire(ctx); err != nil {
		return r, fmt.Errorf("gc: leases: %w", err)
	}
	for range tries {
		m, err := c.mark(ctx)
		if err != nil {
			return r, fmt.Errorf("gc: %w", err)
		}
		if len(m.garbageBlobs())+len(m.garbageSnapshots()) == 0 {
			break
		}
		settled := false
		err = c.Leases.Hold(func() error {
			if settled, err = c.unchanged(ctx, m); err != nil || !settled {
				return err
			}
			return c.sweep(ctx, m, &r)
		})
		if err != nil {
			return r, fmt.Errorf("gc: %w", err)
		}
		if settled {
			break
		}
	}
	if _, err := c.Content.AbandonIngests(content.IngestAge); err != nil {
		return r, fmt.Errorf("gc: %w", err)
	}
	if len(r.Blobs)+len(r.Snapshots) > 0 {
		logging.From(ctx).Info("garbage collected", "blobs", len(r.Blobs), "snapshots", len(r.Snapshots), "bytes", r.Bytes)
	}
	return r, nil
}

// unchanged reports whether the images are those of the mark, and marks what leases hold by now. Adds are held.
func (c *Collector) unchanged(ctx context.Context, m *marks) (bool, error) {
	now, err := c.roots(ctx)
	if err != nil {
		return false, err
	}
	if now.fingerprint != m.fingerprint {
		return false, nil
	}
	leases, err := c.Leases.All(ctx)
	if err != nil {
		return false, err
	}
	m.leases(leases)
	return true, m.walk(ctx, c.Content)
}

// sweep deletes what is not marked.
func (c *Collector) sweep(ctx context.Context, m *marks, r *Report) error {
	gone, err := c.Content.DeleteAll(ctx, m.garbageBlobs())
	for _, i := range gone {
		r.Blobs = append(r.Blobs, i.Digest)
		r.Bytes += i.Size
	}
	if err != nil {
		return err
	}
	// Children first; those of one level side by side, so that they share the database's syncs.
	for _, level := range m.garbageSnapshots() {
		removed, err := c.removeLevel(ctx, level)
		for _, i := range removed {
			r.Snapshots = append(r.Snapshots, i.Key)
			r.Bytes += i.Size
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) removeLevel(ctx context.Context, level []snapshot.Info) ([]snapshot.Info, error) {
	errs := make([]error, len(level))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, info := range level {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = c.Snapshots.Remove(ctx, info.Key)
		})
	}
	wg.Wait()
	var removed []snapshot.Info
	var failed error
	for i, err := range errs {
		switch {
		case err == nil:
			removed = append(removed, level[i])
		case errdefs.IsNotFound(err), errdefs.Is(err, errdefs.ErrFailedPrecondition), errdefs.Is(err, errdefs.ErrUnavailable):
			// Somebody else removes it, or has put a container on it since the mark.
		default:
			failed = errors.Join(failed, err)
		}
	}
	return removed, failed
}

// Trigger starts a run in the background and returns at once. Triggers that come before the run has begun are one.
func (c *Collector) Trigger(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.wanted = true
	if c.working {
		return
	}
	c.working = true
	ctx = context.WithoutCancel(ctx)
	c.done.Go(func() { c.work(ctx) })
}

func (c *Collector) work(ctx context.Context) {
	for {
		c.mu.Lock()
		if !c.wanted || c.closed {
			c.working = false
			c.mu.Unlock()
			return
		}
		c.wanted = false
		c.mu.Unlock()
		r, err := c.Run(ctx)
		if err != nil {
			logging.From(ctx).LogAttrs(ctx, slog.LevelError, "garbage collection", slog.Any("err", err))
		}
		if c.Done != nil {
			c.Done(r, err)
		}
	}
}

// Close waits for the run that goes on and begins no other in the background.
func (c *Collector) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.done.Wait()
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
