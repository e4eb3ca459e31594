package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/inode"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// Open opens the snapshots below root with the first driver that works on its file system, or with the one that the
// existing snapshots were made with. Volatile may be nil when no Volatile snapshots are made. It drops records
// whose files did not survive a power cut, and removes directories that no record explains.
func Open(root string, db, volatile *metadata.DB, drivers ...Driver) (*Store, error) {
	boot, err := metadata.BootID()
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	s := &Store{
		db: db, volatile: volatile, boot: boot,
		nodes: map[string]*node{}, children: map[string]int{}, dirs: map[string]bool{},
	}
	used, err := s.load()
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if s.driver, err = choose(root, used, drivers); err != nil {
		return nil, err
	}
	s.root = filepath.Join(root, s.driver.Name())
	if err := os.MkdirAll(filepath.Join(s.root, trashDir), 0o700); err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if err := inode.Spread(s.root); err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	if err := s.reconcile(context.Background()); err != nil {
		return nil, fmt.Errorf("snapshots %s: %w", s.root, err)
	}
	s.bin = openBin(filepath.Join(s.root, trashDir))
	if err := s.Collect(context.Background()); err != nil {
		return nil, fmt.Errorf("snapshots %s: %w", s.root, err)
	}
	s.scheduleSync()
	return s, nil
}

// choose takes the driver that the records name, else the first that works. One that has worked here works on a full disk
// too: the daemon has to start, so that something can be removed.
func choose(root, used string, drivers []Driver) (Driver, error) {
	var reasons error
	for _, d := range drivers {
		if used != "" && d.Name() != used {
			continue
		}
		err := probe(filepath.Join(root, d.Name()), d)
		if err == nil {
			return d, nil
		}
		if used != "" && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
			slog.Warn("snapshots: the disk is full: what the driver could do here before it can do without a look", "driver", used, "err", err)
			return d, nil
		}
		reasons = errors.Join(reasons, fmt.Errorf("%s: %w", d.Name(), err))
	}
	if used != "" && reasons == nil {
		return nil, errdefs.FailedPrecondition("snapshots: those below %s were made with %s: use that driver, or another data root", root, used)
	}
	return nil, errdefs.FailedPrecondition("snapshots: no driver works below %s: %w", root, reasons)
}

func probe(root string, d Driver) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(root, "probe-")
	if err != nil {
		return err
	}
	return errors.Join(d.Probe(dir), rootfs.RemoveTree(dir))
}

// load fills the index from both databases and tells which driver made what is there.
func (s *Store) load() (used string, err error) {
	for _, db := range []*metadata.DB{s.db, s.volatile} {
		if db == nil {
			continue
		}
		err := db.View(context.Background(), func(tx *metadata.Tx) error {
			return tx.Each(metadata.Snapshots, "", "", func(key string, raw []byte) error {
				var r record
				if err := json.Unmarshal(raw, &r); err != nil {
					return fmt.Errorf("%s: %w", key, err)
				}
				if _, err := strconv.ParseUint(r.Dir, 10, 63); err != nil {
					return fmt.Errorf("%s: directory %q is not a number", key, r.Dir)
				}
				if used == "" {
					used = r.Driver
				}
				if used != r.Driver {
					return errdefs.FailedPrecondition("snapshot %s was made with %s, others with %s", key, r.Driver, used)
				}
				s.index(&node{Info: r.Info, volatile: db == s.volatile, synced: r.Boot == "", loaded: true}, r.Boot)
				return nil
			})
		})
		if err != nil {
			return "", err
		}
	}
	return used, nil
}

// index takes a loaded node in. A Commit of a volatile snapshot writes the durable record before it deletes the
// volatile one: after a crash in between the durable one counts.
func (s *Store) index(n *node, boot string) {
	if n.volatile && s.dirs[n.Dir] {
		n.busy = "superseded"
		n.Dir = ""
	}
	if boot != "" && boot != s.boot {
		n.busy = "lost"
	}
	s.nodes[n.Key] = n
	if n.Dir != "" {
		s.dirs[n.Dir] = true
	}
	if n.Parent != "" {
		s.children[n.Parent]++
	}
}

// reconcile drops records whose snapshot is not there, makes the directories of containers that lost theirs, and
// finds the next free number.
func (s *Store) reconcile(ctx context.Context) error {
	var drop []*node
	for _, n := range s.nodes {
		if num, err := strconv.ParseUint(n.Dir, 10, 63); err == nil && num >= s.next {
			s.next = num + 1
		}
		if n.busy == "" {
			err := s.present(n)
			switch {
			case err == nil:
				continue
			case !errors.Is(err, os.ErrNotExist):
				return err
			case n.Kind != Committed:
				if err := s.remake(ctx, n); err != nil {
					slog.Warn("snapshot has lost its directory", "snapshot", n.Key, "dir", n.Dir, "err", err)
				}
				continue
			}
		}
		slog.Warn("snapshot is dropped", "snapshot", n.Key, "dir", n.Dir, "cause", n.busy)
		drop = append(drop, n)
	}
	for _, n := range drop {
		if err := s.deleteRecord(ctx, n); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		s.forget(n)
	}
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if num, err := strconv.ParseUint(e.Name(), 10, 63); err == nil && num >= s.next {
			s.next = num + 1
		}
	}
	return nil
}

// remake gives a container whose directory did not survive a power cut an empty one: its unsynced files are lost,
// as the kernel allows, but it can start.
func (s *Store) remake(ctx context.Context, n *node) error {
	l, err := s.layout(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return err
	}
	return s.driver.Create(ctx, l)
}
