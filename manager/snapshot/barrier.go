package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// settle is how long the background sync waits after a Commit, so that the layers of one pull share it. Nobody waits
// for it: until then a layer is marked as not yet on the disk.
const settle = 2 * time.Second

// barrier is the state of the background sync.
type barrier struct {
	mu        sync.Mutex // one syncfs at a time
	scheduled bool       // under Store.mu
}

func (s *Store) scheduleSync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scheduleSyncLocked()
}

func (s *Store) scheduleSyncLocked() {
	if s.barrier.scheduled || s.closed || len(s.unsynced()) == 0 {
		return
	}
	s.barrier.scheduled = true
	time.AfterFunc(settle, func() {
		s.mu.Lock()
		s.barrier.scheduled = false
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return // Close syncs by itself; the databases may be gone after it
		}
		if err := s.Sync(context.Background()); err != nil {
			slog.Error("snapshots: sync", "err", err)
		}
	})
}

// unsynced lists the committed snapshots that are not on the disk. The lock is held.
func (s *Store) unsynced() []*node {
	var list []*node
	for _, n := range s.nodes {
		if n.Kind == Committed && !n.synced && n.busy == "" {
			list = append(list, n)
		}
	}
	return list
}

// Sync puts all committed snapshots on the disk, by one syncfs(2) for all that were committed before the call.
func (s *Store) Sync(ctx context.Context) error {
	s.barrier.mu.Lock()
	defer s.barrier.mu.Unlock()
	s.mu.Lock()
	list := s.unsynced()
	s.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	d, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("snapshots: sync: %w", err)
	}
	if err := errors.Join(unix.Syncfs(int(d.Fd())), d.Close()); err != nil {
		return fmt.Errorf("snapshots: sync %s: %w", s.root, err)
	}
	err = s.db.Update(ctx, func(tx *metadata.Tx) error {
		for _, n := range list {
			var r record
			err := tx.Get(metadata.Snapshots, "", n.Key, &r)
			if errdefs.IsNotFound(err) {
				continue // removed meanwhile
			}
			if err != nil {
				return err
			}
			if r.Dir != n.Dir {
				continue // removed and made again
			}
			r.Boot = ""
			if err := tx.Put(metadata.Snapshots, "", n.Key, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("snapshots: sync: %w", err)
	}
	s.mu.Lock()
	for _, n := range list {
		n.synced = true
	}
	s.mu.Unlock()
	return nil
}
