package logdriver

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watch wakes a follower when something in the log's directory changes (inotify(7)). The descriptor is
// non-blocking, so waiting costs no thread.
type watch struct {
	f *os.File
}

func newWatch(path string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF)
	if err != nil {
		_ = f.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	return &watch{f: f}, nil
}

// wait returns true after a change; false when ctx or done ended it. Changes between two calls are kept by the
// kernel, so none is missed.
func (w *watch) wait(ctx context.Context, done <-chan struct{}) bool {
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-done:
			w.interrupt()
		case <-finished:
		}
	}()
	if ctx.Err() != nil {
		return false
	}
	var buf [4096]byte
	_, err := w.f.Read(buf[:])
	return err == nil
}

// interrupt lets a waiting Read return at once.
func (w *watch) interrupt() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) }

func (w *watch) close() { _ = w.f.Close() }
