package snapshot

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// bin removes trees in the background: they are renamed into its directory, which takes microseconds, and one
// goroutine deletes what is there. What a crash leaves in it goes after the next Open.
type bin struct {
	dir    string
	serial atomic.Uint64
	kick   chan struct{}
	ending chan struct{}
	done   sync.WaitGroup
}

func openBin(dir string) *bin {
	b := &bin{dir: dir, kick: make(chan struct{}, 1), ending: make(chan struct{})}
	b.kick <- struct{}{}
	b.done.Go(b.run)
	return b
}

// throw moves the tree at path into the bin. A path that does not exist is right; one that cannot be moved stays for
// the next Collect.
func (b *bin) throw(path string) {
	for {
		to := filepath.Join(b.dir, filepath.Base(path)+"-"+strconv.FormatUint(b.serial.Add(1), 10))
		err := os.Rename(path, to)
		if errors.Is(err, fs.ErrExist) { // left by an earlier process
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			slog.Warn("snapshot directory cannot be thrown away", "path", path, "err", err)
		}
		break
	}
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

func (b *bin) run() {
	stuck := map[string]bool{} // said once
	for {
		select {
		case <-b.kick:
			b.empty(stuck)
		case <-b.ending:
			b.empty(stuck)
			return
		}
	}
}

func (b *bin) empty(stuck map[string]bool) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		slog.Warn("snapshots: trash", "err", err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(b.dir, e.Name())
		if stuck[path] {
			continue
		}
		if err := rootfs.RemoveTree(path); err != nil {
			stuck[path] = true
			slog.Warn("snapshots: trash", "path", path, "err", err)
		}
	}
}

// close empties the bin and ends its goroutine.
func (b *bin) close() {
	close(b.ending)
	b.done.Wait()
}
