package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/metadata"
)

// maxKey bounds a key's length; it is a database key and never a path.
const maxKey = 1024

// Prepare makes an active snapshot on top of a committed one ("" for none) and says how to mount it.
func (s *Store) Prepare(ctx context.Context, key, parent string, opts ...Option) ([]mount.Mount, error) {
	return s.create(ctx, Active, key, parent, opts)
}

// View makes a read-only snapshot of a committed one and says how to mount it.
func (s *Store) View(ctx context.Context, key, parent string, opts ...Option) ([]mount.Mount, error) {
	return s.create(ctx, View, key, parent, opts)
}

func (s *Store) create(ctx context.Context, kind Kind, key, parent string, opts []Option) (_ []mount.Mount, err error) {
	var c Config
	for _, o := range opts {
		o(&c)
	}
	if c.Volatile && s.volatile == nil {
		return nil, errdefs.FailedPrecondition("snapshot %s: no volatile database is open", key)
	}
	n := &node{volatile: c.Volatile, busy: "being made"}
	n.Info = Info{Key: key, Parent: parent, Kind: kind, Labels: maps.Clone(c.Labels), CreatedAt: now(), Points: c.Points && kind == Active}
	l, err := s.reserve(n)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.bin.throw(l.Dir)
			s.mu.Lock()
			s.forget(n)
			s.mu.Unlock()
			err = fmt.Errorf("snapshot %s: %w", key, explain(err))
		}
	}()
	if err := os.Mkdir(l.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.driver.Create(ctx, l); err != nil {
		return nil, err
	}
	mounts, err := s.driver.Mounts(l)
	if err != nil {
		return nil, err
	}
	r := s.record(n)
	err = s.database(n).Update(ctx, func(tx *metadata.Tx) error { return tx.Put(metadata.Snapshots, "", key, r) })
	if err != nil {
		return nil, err
	}
	s.rest(n)
	return mounts, nil
}

// stacking is a Driver whose snapshots hold only their own files.
type stacking interface {
	// Stack makes l, which was created without parents, one on top of l.Parents.
	Stack(l Layout) error
}

// Stacks implements Stacker.
func (s *Store) Stacks() bool {
	_, ok := s.driver.(stacking)
	return ok
}

// Onto implements Stacker.
func (s *Store) Onto(_ context.Context, key, parent string) (_ []mount.Mount, err error) {
	driver, ok := s.driver.(stacking)
	if !ok {
		return nil, errdefs.NotImplemented("snapshot %s: %s copies its parents' files: prepare it on top of %s", key, s.driver.Name(), parent)
	}
	var l Layout
	n, err := s.occupy(key, "being put on its parent", func(n *node) error {
		if n.Kind != Active || n.Parent != "" {
			return errdefs.FailedPrecondition("snapshot %s: only an active one without a parent can be put on top of one", key)
		}
		if err := s.isParent(key, parent); err != nil {
			return err
		}
		n.Parent = parent
		l, err = s.layout(n)
		if err != nil {
			n.Parent = ""
			return err
		}
		s.children[parent]++
		return nil
	})
	if err != nil {
		return nil, err
	}
	defer s.rest(n)
	if err := driver.Stack(l); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, explain(err))
	}
	return s.driver.Mounts(l)
}

// isParent checks that a snapshot can come on top of parent. The lock is held.
func (s *Store) isParent(key, parent string) error {
	p, err := s.find(parent)
	if err != nil {
		return fmt.Errorf("snapshot %s: parent: %w", key, err)
	}
	if p.Kind != Committed {
		return errdefs.InvalidArgument("snapshot %s: parent %s is not committed", key, parent)
	}
	return nil
}

// reserve takes the node's key, its parent and a directory number.
func (s *Store) reserve(n *node) (Layout, error) {
	if n.Key == "" || len(n.Key) > maxKey {
		return Layout{}, errdefs.InvalidArgument("snapshot key %.80q: must have 1 to %d characters", n.Key, maxKey)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return Layout{}, errdefs.Unavailable("snapshot %s: the store is closed", n.Key)
	}
	if s.nodes[n.Key] != nil {
		return Layout{}, errdefs.AlreadyExists("snapshot %s: already exists", n.Key)
	}
	if n.Parent != "" {
		if err := s.isParent(n.Key, n.Parent); err != nil {
			return Layout{}, err
		}
	}
	n.Dir = strconv.FormatUint(s.next, 10)
	l, err := s.layout(n)
	if err != nil {
		return Layout{}, err
	}
	s.next++
	s.nodes[n.Key], s.dirs[n.Dir] = n, true
	if n.Parent != "" {
		s.children[n.Parent]++
	}
	return l, nil
}

// rest ends what was being done with a node.
func (s *Store) rest(n *node) {
	s.mu.Lock()
	n.busy = ""
	s.mu.Unlock()
}

// occupy marks a node that is at rest, after check has agreed.
func (s *Store) occupy(key, doing string, check func(*node) error) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.find(key)
	if err != nil {
		return nil, err
	}
	if err := check(n); err != nil {
		return nil, err
	}
	n.busy = doing
	return n, nil
}

// Commit turns the active snapshot key into the committed snapshot name. When name exists already (somebody else
// was faster) it is AlreadyExists, and the active one stays for the caller to remove.
func (s *Store) Commit(ctx context.Context, name, key string, opts ...Option) (err error) {
	var c Config
	for _, o := range opts {
		o(&c)
	}
	old, err := s.occupy(key, "being committed", func(n *node) error {
		switch {
		case n.Kind != Active:
			return errdefs.FailedPrecondition("snapshot %s: is %s, only an active one can be committed", key, n.Kind)
		case name == "" || len(name) > maxKey:
			return errdefs.InvalidArgument("snapshot key %.80q: must have 1 to %d characters", name, maxKey)
		case s.nodes[name] != nil:
			return errdefs.AlreadyExists("snapshot %s: already exists", name)
		}
		taken := &node{busy: "being made"}
		taken.Key = name
		s.nodes[name] = taken
		return nil
	})
	if err != nil {
		return err
	}
	fresh, err := s.seal(ctx, old, name, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	old.busy = ""
	if err != nil {
		delete(s.nodes, name)
		return fmt.Errorf("snapshot %s: commit: %w", key, explain(err))
	}
	delete(s.nodes, key)
	s.nodes[name] = fresh
	s.scheduleSyncLocked()
	return nil
}

// seal measures the snapshot and changes its record. The directory stays where it is.
func (s *Store) seal(ctx context.Context, old *node, name string, c Config) (*node, error) {
	if c.Size == 0 {
		u, err := s.measure(ctx, old)
		if err != nil {
			return nil, err
		}
		c.Size = u.Size
	}
	if err := s.driver.Seal(Layout{Dir: s.dir(old), Kind: old.Kind, Volatile: old.volatile}); err != nil {
		return nil, err
	}
	labels := maps.Clone(old.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, c.Labels)
	fresh := &node{Info: old.Info}
	fresh.Key, fresh.Kind, fresh.Size, fresh.Labels, fresh.CreatedAt = name, Committed, c.Size, labels, now()
	fresh.Points = false
	r := s.record(fresh)
	err := s.db.Update(ctx, func(tx *metadata.Tx) error {
		if !old.volatile {
			if err := tx.Delete(metadata.Snapshots, "", old.Key); err != nil {
				return err
			}
		}
		return tx.Put(metadata.Snapshots, "", name, r)
	})
	if err != nil {
		return nil, err
	}
	if old.volatile {
		if err := s.deleteRecord(ctx, old); err != nil {
			// The durable record of the same directory counts, see index.
			slog.Warn("snapshot: old record", "snapshot", old.Key, "err", err)
		}
	}
	return fresh, nil
}

// Remove removes a snapshot. FailedPrecondition when others have it as their parent. The record and the name are
// gone when it returns; the files go in the background.
func (s *Store) Remove(ctx context.Context, key string) error {
	n, err := s.occupy(key, "being removed", func(n *node) error {
		if c := s.children[key]; c > 0 {
			return errdefs.FailedPrecondition("snapshot %s: %d snapshots are on top of it", key, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.deleteRecord(ctx, n); err != nil {
		s.rest(n)
		return fmt.Errorf("snapshot %s: remove: %w", key, err)
	}
	s.bin.throw(s.dir(n))
	s.mu.Lock()
	s.forget(n)
	s.mu.Unlock()
	return nil
}

// Collect removes the directories that no record explains: what a crash between two steps left.
func (s *Store) Collect(_ context.Context) error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		_, err := strconv.ParseUint(name, 10, 63)
		if err != nil && !strings.HasPrefix(name, "probe-") {
			continue
		}
		s.mu.Lock()
		if !s.dirs[name] {
			s.bin.throw(filepath.Join(s.root, name))
		}
		s.mu.Unlock()
	}
	return nil
}

// explain adds the way out to a full disk's error.
func explain(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return errdefs.With(errdefs.ErrResourceExhausted, fmt.Errorf("%w: remove containers or images (prune), or make room", err))
	}
	return err
}
