package cgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// freezeTime bounds how long the kernel may take to stop all processes: one in an uninterruptible wait stops late.
const freezeTime = 10 * time.Second

// Freeze stops all processes of the group; it returns when the kernel says that they are stopped.
func (g *Group) Freeze(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freezeTime)
	defer cancel()
	var err error
	if Unified() {
		err = freezeV2(ctx, g.paths[""])
	} else {
		err = freezeV1(ctx, g.paths["freezer"])
	}
	if err != nil {
		// Half frozen is worse than not at all.
		return errors.Join(fmt.Errorf("cgroup: freezer: %w", err), g.thaw())
	}
	return nil
}

// Thaw lets the processes of the group go on.
func (g *Group) Thaw(_ context.Context) error {
	if err := g.thaw(); err != nil {
		return fmt.Errorf("cgroup: freezer: %w", err)
	}
	return nil
}

func (g *Group) thaw() error {
	dir, file, text := g.paths["freezer"], "freezer.state", "THAWED"
	if Unified() {
		dir, file, text = g.paths[""], "cgroup.freeze", "0"
	}
	if dir == "" {
		return errNoFreezer
	}
	return write(dir, file, text)
}

var errNoFreezer = errdefs.FailedPrecondition("the container has no freezer group")

// freezeV1 writes until the state is FROZEN. The kernel stops what it finds at each write; a process that came in by
// a fork or a join meanwhile leaves the state at FREEZING, and only another write reaches it. v1 tells no events.
func freezeV1(ctx context.Context, dir string) error {
	if dir == "" {
		return errNoFreezer
	}
	for pause := 10 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		if err := write(dir, "freezer.state", "FROZEN"); err != nil {
			return err
		}
		state, err := read(dir, "freezer.state")
		if err != nil {
			return err
		}
		if strings.TrimSpace(state) == "FROZEN" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// freezeV2 waits for "frozen 1" in cgroup.events, whose changes poll(2) tells as POLLPRI.
func freezeV2(ctx context.Context, dir string) error {
	if dir == "" {
		return errNoFreezer
	}
	events, err := open(dir, "cgroup.events", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(events) }()
	if err := write(dir, "cgroup.freeze", "1"); err != nil {
		return err
	}
	buf := make([]byte, 256)
	for {
		n, err := unix.Pread(events, buf, 0)
		if err != nil {
			return err
		}
		if strings.Contains(string(buf[:n]), "frozen 1") {
			return nil
		}
		if err := awaitPriority(ctx, events); err != nil {
			return err
		}
	}
}

// Frozen reports whether the group is frozen, by itself: one above it that is frozen does not count.
func (g *Group) Frozen() (bool, error) {
	dir, file := g.paths["freezer"], "freezer.self_freezing"
	if Unified() {
		dir, file = g.paths[""], "cgroup.freeze"
	}
	if dir == "" {
		return false, nil
	}
	s, err := read(dir, file)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cgroup: freezer: %w", err)
	}
	return strings.TrimSpace(s) == "1", nil
}

// awaitPriority waits until one of the control files behind fds has changed (POLLPRI), or the context ends.
func awaitPriority(ctx context.Context, fds ...int) error {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return err
	}
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(fired)
	})
	defer func() {
		if !stop() {
			<-fired // never write to a descriptor that is closed
		}
		_ = unix.Close(wake)
	}()
	for {
		p := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}}
		for _, fd := range fds {
			p = append(p, unix.PollFd{Fd: int32(fd), Events: unix.POLLPRI})
		}
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
			return err
		}
		if p[0].Revents != 0 {
			return ctx.Err()
		}
		if slices.ContainsFunc(p, func(f unix.PollFd) bool { return f.Revents != 0 }) {
			return nil
		}
	}
}
