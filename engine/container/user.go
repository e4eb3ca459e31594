package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// maxAccounts bounds what is read of an image's password or group file.
const maxAccounts = 4 << 20

// maxCachedUsers bounds the cache; it is emptied when full.
const maxCachedUsers = 256

// userCache remembers who a user is in an unchanged image, so that the start of a new container needs no look into
// its root file system.
type userCache struct {
	mu    sync.Mutex
	known map[string]spec.User
}

// lookup finds a container's user. Only before its first start is its file system surely the image's.
func (u *userCache) lookup(ctx context.Context, s *Service, rec *Record, who string, groups []string) (spec.User, error) {
	key := ""
	if !rec.HasStarted && !rec.Changed {
		key = strings.Join(append([]string{rec.ChainID, who}, groups...), "\x00")
		u.mu.Lock()
		found, ok := u.known[key]
		u.mu.Unlock()
		if ok {
			return found, nil
		}
	}
	root, err := s.cfg.OpenRoot(ctx, rec.ID)
	if err != nil {
		return spec.User{}, fmt.Errorf("container %s: root file system: %w", rec.ID, err)
	}
	defer func() { _ = root.Close() }()
	passwd, err := optionalFile(root, "/etc/passwd")
	if err != nil {
		return spec.User{}, err
	}
	group, err := optionalFile(root, "/etc/group")
	if err != nil {
		return spec.User{}, err
	}
	found, err := spec.LookupUser(who, groups, passwd, group)
	if err != nil || key == "" {
		return found, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil || len(u.known) >= maxCachedUsers {
		u.known = map[string]spec.User{}
	}
	u.known[key] = found
	return found, nil
}

// optionalFile reads a file of an image that may have none.
func optionalFile(root Root, path string) ([]byte, error) {
	data, err := root.ReadFile(path, maxAccounts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errdefs.IsNotFound(err) {
		return nil, errdefs.InvalidArgument("unable to read %s of the container: %w", path, err)
	}
	return data, nil
}
