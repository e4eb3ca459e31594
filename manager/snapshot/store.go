package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// Store is the one Snapshotter; a Driver makes it overlay or native. All methods are for concurrent use.
//
// The index of all snapshots is in memory; the databases are the truth that it is loaded from. A node is put into
// the index before the directory is made (so a key is taken once), and into the database after it.
type Store struct {
	root     string // of this driver
	driver   Driver
	db       *metadata.DB // synced records
	volatile *metadata.DB // records of what ends with the boot
	boot     string

	mu       sync.Mutex
	nodes    map[string]*node
	children map[string]int // snapshots by their parent's key
	dirs     map[string]bool
	next     uint64
	closed   bool
	points   string // the directory of Points; "" is none

	barrier barrier
	bin     *bin
}

// node is a snapshot in the index.
type node struct {
	Info
	volatile bool
	busy     string // what is being done with it ("being made"); "" when at rest
	synced   bool   // of committed ones
	loaded   bool   // made by an earlier process
}

// record is the database's record of a snapshot.
type record struct {
	Info
	Driver string `json:"driver"`
	Boot   string `json:"boot,omitempty"` // of a committed one that is not on the disk yet: the boot it was made under
}

const trashDir = "trash"

// Driver is the name of the driver in use.
func (s *Store) Driver() string { return s.driver.Name() }

func (s *Store) dir(n *node) string { return filepath.Join(s.root, n.Dir) }

// find returns a snapshot that is at rest. The lock is held.
func (s *Store) find(key string) (*node, error) {
	n := s.nodes[key]
	if n == nil {
		return nil, errdefs.NotFound("snapshot %s: not found", key)
	}
	if n.busy != "" {
		return nil, errdefs.Unavailable("snapshot %s: is %s", key, n.busy)
	}
	return n, nil
}

// forget takes a node out of the index. The lock is held, or Open runs.
func (s *Store) forget(n *node) {
	delete(s.nodes, n.Key)
	delete(s.dirs, n.Dir)
	if n.Parent == "" {
		return
	}
	if s.children[n.Parent]--; s.children[n.Parent] <= 0 {
		delete(s.children, n.Parent)
	}
}

// layout resolves a snapshot's directories. The lock is held, or Open runs.
func (s *Store) layout(n *node) (Layout, error) {
	l := Layout{Dir: s.dir(n), Kind: n.Kind, Volatile: n.volatile}
	for key := n.Parent; key != ""; {
		p := s.nodes[key]
		if p == nil || p.Kind != Committed || p.busy == "lost" {
			return l, errdefs.NotFound("snapshot %s: its parent %s is lost: pull the image again", n.Key, key)
		}
		l.Parents = append(l.Parents, s.dir(p))
		if len(l.Parents) > len(s.nodes) {
			return l, fmt.Errorf("snapshot %s: its parents run in a circle", n.Key)
		}
		key = p.Parent
	}
	if n.Points && s.points != "" && len(l.Parents) > 0 {
		l.Parents = append(l.Parents, s.points)
	}
	return l, nil
}

// resolve is layout for a snapshot at rest, by its key.
func (s *Store) resolve(key string) (Layout, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.find(key)
	if err != nil {
		return Layout{}, err
	}
	return s.layout(n)
}

// Stat describes a snapshot.
func (s *Store) Stat(_ context.Context, key string) (Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.find(key)
	if err != nil {
		return Info{}, err
	}
	return n.Info, nil
}

// Mounts says how a snapshot is mounted: one mount, "overlay" or "bind". A committed one has none.
func (s *Store) Mounts(_ context.Context, key string) ([]mount.Mount, error) {
	l, err := s.resolve(key)
	if err != nil {
		return nil, err
	}
	if l.Kind == Committed {
		return nil, errdefs.FailedPrecondition("snapshot %s: is committed: prepare or view one on top of it", key)
	}
	m, err := s.driver.Mounts(l)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	return m, nil
}

// Root opens a snapshot, its parents' files included, as a read-only directory that is mounted nowhere: for looks at
// an image's files from outside of any container. The caller closes it.
func (s *Store) Root(_ context.Context, key string) (*rootfs.Root, error) {
	l, err := s.resolve(key)
	if err != nil {
		return nil, err
	}
	if l.Kind != View || len(l.Parents) == 0 {
		l.Loose = l.Kind != Committed
		l.Parents = append([]string{l.Dir}, l.Parents...)
	}
	l.Kind, l.Volatile = View, false
	mounts, err := s.driver.Mounts(l)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	r, err := rootfs.Open(mounts)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	return r, nil
}

// Root is an open view of a snapshot's files, see Store.Root.
type Root = rootfs.Root

// Walk calls fn for every snapshot, parents before their children, until fn fails. fn may call the store.
func (s *Store) Walk(_ context.Context, fn func(Info) error) error {
	s.mu.Lock()
	all := make([]Info, 0, len(s.nodes))
	depth := map[string]int{}
	for _, n := range s.nodes {
		if n.busy == "" {
			all = append(all, n.Info)
			depth[n.Key] = s.depth(n)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Info) int {
		if d := depth[a.Key] - depth[b.Key]; d != 0 {
			return d
		}
		return strings.Compare(a.Key, b.Key)
	})
	for _, i := range all {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// Inherited reports whether an earlier process made the snapshot. An active one that is, and that no container has,
// is an unpacking that a crash ended.
func (s *Store) Inherited(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[key]
	return n != nil && n.loaded
}

func (s *Store) depth(n *node) int {
	d := 0
	for d < len(s.nodes) && n.Parent != "" {
		if n = s.nodes[n.Parent]; n == nil {
			break
		}
		d++
	}
	return d
}

// Usage measures what a snapshot alone occupies: its own files without its parents'.
func (s *Store) Usage(ctx context.Context, key string) (Usage, error) {
	s.mu.Lock()
	n, err := s.find(key)
	s.mu.Unlock()
	if err != nil {
		return Usage{}, err
	}
	return s.measure(ctx, n)
}

func (s *Store) measure(ctx context.Context, n *node) (Usage, error) {
	size, inodes, err := rootfs.Usage(ctx, filepath.Join(s.dir(n), Files))
	if err != nil {
		return Usage{}, fmt.Errorf("snapshot %s: %w", n.Key, err)
	}
	if i, ok := s.driver.(imager); ok && n.Kind == Committed {
		more, count, err := i.Usage(s.dir(n))
		if err != nil {
			return Usage{}, fmt.Errorf("snapshot %s: %w", n.Key, err)
		}
		size, inodes = size+more, inodes+count
	}
	return Usage{Size: size, Inodes: inodes}, nil
}

// imager is a Driver whose committed snapshots have more than their directory of files.
type imager interface {
	// Present says what is missing of a committed snapshot's directory, nil when nothing is.
	Present(dir string) error
	// Usage is what it takes beside its files.
	Usage(dir string) (size, inodes int64, err error)
}

// present says what is missing of a snapshot: an error that is os.ErrNotExist, or what keeps it from being known.
func (s *Store) present(n *node) error {
	_, err := os.Lstat(filepath.Join(s.dir(n), Files))
	if i, ok := s.driver.(imager); ok && err == nil && n.Kind == Committed {
		err = i.Present(s.dir(n))
	}
	return err
}

// Close makes committed snapshots durable and waits until everything that was removed is gone from the disk.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	err := s.Sync(context.Background())
	s.bin.close()
	return err
}

// record returns a node's record.
func (s *Store) record(n *node) record {
	r := record{Info: n.Info, Driver: s.driver.Name()}
	if n.Kind == Committed && !n.synced {
		r.Boot = s.boot
	}
	return r
}

// database is where a node's record is.
func (s *Store) database(n *node) *metadata.DB {
	if n.volatile {
		return s.volatile
	}
	return s.db
}

func (s *Store) deleteRecord(ctx context.Context, n *node) error {
	return s.database(n).Update(ctx, func(tx *metadata.Tx) error {
		return tx.Delete(metadata.Snapshots, "", n.Key)
	})
}

func now() time.Time { return time.Now().UTC() }
