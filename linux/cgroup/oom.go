package cgroup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// OOMKills returns how many of the group's processes the kernel has killed for want of memory.
func (g *Group) OOMKills() (uint64, error) {
	dir, file := g.paths["memory"], "memory.oom_control"
	if Unified() {
		dir, file = g.paths[""], "memory.events"
	}
	if dir == "" {
		return 0, nil
	}
	keys, err := readKeys(dir, file)
	if err != nil && !(g.rootless && missing(err)) {
		return 0, fmt.Errorf("cgroup: read oom kills: %w", err)
	}
	return keys["oom_kill"], nil
}

// WatchOOM tells each time that the group runs out of memory: with v1 before the kernel kills (or, with the killer
// disabled, stops) a process, with v2 after it. The channel is closed when the group is gone or ctx ends; a group
// without the controller has none (nil).
func (g *Group) WatchOOM(ctx context.Context) (<-chan struct{}, error) {
	dir := g.paths["memory"]
	if Unified() {
		dir = g.paths[""]
	}
	if dir == "" {
		return nil, nil
	}
	out := make(chan struct{}, 1)
	watch := g.watchV1
	if Unified() {
		watch = g.watchV2
	}
	if err := watch(ctx, dir, out); err != nil {
		return nil, fmt.Errorf("cgroup: watch for want of memory: %w", err)
	}
	return out, nil
}

// watchV1 registers an eventfd for memory.oom_control. The kernel writes to it at each event, and once when the group is removed.
func (g *Group) watchV1(ctx context.Context, dir string, out chan<- struct{}) error {
	control, err := open(dir, "memory.oom_control", unix.O_RDONLY)
	if err != nil {
		return err
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(control)
		return err
	}
	err = write(dir, "cgroup.event_control", strconv.Itoa(event)+" "+strconv.Itoa(control))
	if err != nil {
		_ = unix.Close(control)
		_ = unix.Close(event)
		return err
	}
	f := os.NewFile(uintptr(event), "oom events") // not blocking: the runtime's poller waits, and Close wakes it
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	go func() {
		defer close(out)
		defer func() { _ = unix.Close(control) }()
		defer func() { _ = f.Close() }()
		defer stop()
		var count [8]byte
		for {
			if _, err := f.Read(count[:]); err != nil || !exists(dir) {
				return
			}
			if !tell(ctx, out) {
				return
			}
		}
	}()
	return nil
}

// watchV2 looks at memory.events whenever the kernel says that it has changed.
func (g *Group) watchV2(ctx context.Context, dir string, out chan<- struct{}) error {
	fd, err := open(dir, "memory.events", unix.O_RDONLY)
	if err != nil {
		return err
	}
	before, err := g.OOMKills()
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	processes, err := open(dir, "cgroup.events", unix.O_RDONLY)
	if err != nil {
		_ = unix.Close(fd)
		return err
	}
	go func() {
		defer close(out)
		defer func() { _ = unix.Close(fd) }()
		defer func() { _ = unix.Close(processes) }()
		for awaitNews(ctx, fd, processes) == nil && exists(dir) {
			now, err := g.OOMKills()
			if err != nil {
				return
			}
			if now > before && !tell(ctx, out) {
				return
			}
			before = now
			var seen [1]byte
			if _, err := unix.Pread(fd, seen[:], 0); err != nil { // what is read is no news any more
				return
			}
		}
	}()
	return nil
}

// removalPause is how often an empty group is looked after.
const removalPause = 200 * time.Millisecond

// awaitNews waits until memory.events has changed. Of a group's removal not every kernel says something (6.1 does not),
// but of the end of its last process: from then on the wait is short.
func awaitNews(ctx context.Context, memory, processes int) error {
	b := make([]byte, 256)
	n, err := unix.Pread(processes, b, 0)
	if err != nil {
		return err
	}
	if !bytes.Contains(b[:n], []byte("populated 0")) {
		return awaitPriority(ctx, memory, processes)
	}
	short, cancel := context.WithTimeout(ctx, removalPause)
	defer cancel()
	if err := awaitPriority(short, memory, processes); err != nil && ctx.Err() != nil {
		return err
	}
	return nil
}

func exists(dir string) bool {
	_, err := os.Lstat(dir)
	return err == nil
}

func tell(ctx context.Context, out chan<- struct{}) bool {
	select {
	case out <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
