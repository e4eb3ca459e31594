package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
)

func openGroup(paths map[string]string) (*cgroup.Group, error) { return cgroup.Open(paths) }

// Kill sends sig to the container's first process, with all to every process in its cgroup. A container that is
// neither created nor running (or paused) is an error of class FailedPrecondition. Without a pid namespace of its own
// SIGKILL goes to all in any case: the kernel would leave the others running.
func (c *Container) Kill(ctx context.Context, sig syscall.Signal, all bool) error {
	if err := c.kill(ctx, sig, all); err != nil {
		return fmt.Errorf("container %s: kill: %w", c.ID(), err)
	}
	return nil
}

func (c *Container) kill(ctx context.Context, sig syscall.Signal, all bool) error {
	shared := c.rec.Namespaces&unix.CLONE_NEWPID == 0
	if !c.alive() && !all && !shared {
		return errdefs.FailedPrecondition("container not running")
	}
	if all || (shared && sig == unix.SIGKILL) {
		return c.killAll(ctx, sig)
	}
	err := pidfd.Signal(c.Pidfd(), sig)
	if errors.Is(err, unix.ESRCH) {
		return errdefs.FailedPrecondition("container not running: %w", err)
	}
	if err != nil {
		return err
	}
	return c.wake(ctx, sig)
}

// wake thaws a paused container that was sent SIGKILL: on cgroup v1 the frozen cannot die.
func (c *Container) wake(ctx context.Context, sig syscall.Signal) error {
	if sig != unix.SIGKILL {
		return nil
	}
	if frozen, err := c.group.Frozen(); err != nil || !frozen {
		return nil
	}
	return c.group.Thaw(ctx)
}

func (c *Container) killAll(ctx context.Context, sig syscall.Signal) error {
	if sig == unix.SIGKILL && c.rec.Namespaces&unix.CLONE_NEWPID != 0 && c.alive() {
		// The kernel ends the whole pid namespace with its first process.
		if err := pidfd.Signal(c.Pidfd(), sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return c.wake(ctx, sig)
	}
	if sig == unix.SIGKILL {
		if err := c.group.Kill(); err != nil {
			return err
		}
		return c.wake(ctx, sig)
	}
	pids, err := c.group.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		fd, err := pidfd.Open(pid)
		if err != nil {
			continue // gone
		}
		err = pidfd.Signal(fd, sig)
		_ = unix.Close(fd)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// Pause stops all processes of the container; it is FailedPrecondition unless the container is created or running.
func (c *Container) Pause(ctx context.Context) error {
	st, err := c.status()
	if err == nil && st != specs.StateRunning && st != specs.StateCreated {
		err = errdefs.FailedPrecondition("container not running")
	}
	if err == nil {
		err = c.group.Freeze(ctx)
	}
	if err != nil {
		return fmt.Errorf("container %s: pause: %w", c.ID(), err)
	}
	return nil
}

// Resume lets a paused container go on; it is FailedPrecondition unless the container is paused.
func (c *Container) Resume(ctx context.Context) error {
	st, err := c.status()
	if err == nil && st != StatusPaused {
		err = errdefs.FailedPrecondition("container not paused")
	}
	if err == nil {
		err = c.group.Thaw(ctx)
	}
	if err != nil {
		return fmt.Errorf("container %s: resume: %w", c.ID(), err)
	}
	return nil
}

// Update changes the limits that r names.
func (c *Container) Update(_ context.Context, r *specs.LinuxResources) error {
	if !c.alive() {
		return errdefs.FailedPrecondition("container %s: update: container not running", c.ID())
	}
	if err := c.group.Set(r); err != nil {
		return fmt.Errorf("container %s: update: %w", c.ID(), err)
	}
	return nil
}

// Pids lists the processes in the container's cgroup, by their numbers on the host.
func (c *Container) Pids(_ context.Context) ([]int, error) {
	pids, err := c.group.Pids()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.ID(), err)
	}
	return pids, nil
}

// Delete removes a stopped container: what is left in its cgroup, the cgroup, the state. With force a container in
// any state is killed first; without, one that is not stopped is an error of class FailedPrecondition. When it
// returns nil nothing of the container is left. The first process is not reaped here.
func (c *Container) Delete(ctx context.Context, force bool) error {
	if err := c.delete(ctx, force); err != nil {
		return fmt.Errorf("container %s: delete: %w", c.ID(), err)
	}
	return nil
}

// killWait is how long a forced delete waits for the end of the first process, as runc does: one that somebody else has
// frozen in another control group, or that hangs in the kernel, does not end.
const killWait = 10 * time.Second

func (c *Container) waitKilled(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, killWait)
	defer cancel()
	err := pidfd.Wait(bounded, c.Pidfd())
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return errdefs.Unavailable("container init still running: process %d is there %v after SIGKILL (is it frozen by another control group?)", c.rec.Pid, killWait)
	}
	return err
}

func (c *Container) delete(ctx context.Context, force bool) error {
	if c.alive() {
		if !force {
			st, err := c.status()
			if err != nil {
				return err
			}
			return errdefs.FailedPrecondition("cannot delete container %s that is not stopped: %s", c.ID(), st)
		}
		if err := c.kill(ctx, unix.SIGKILL, true); err != nil && !errdefs.Is(err, errdefs.ErrUnavailable) {
			return err
		}
		if err := c.waitKilled(ctx); err != nil {
			return err
		}
	}
	if err := c.empty(ctx); err != nil {
		return err
	}
	if err := c.group.Destroy(ctx); err != nil {
		return err
	}
	if g := c.rec.Resctrl; g != nil {
		if err := g.Destroy(); err != nil {
			return err
		}
	}
	if err := c.removeDir(); err != nil {
		return err
	}
	if h := c.rec.Hooks; h != nil {
		c.warnHooks(ctx, "poststop", h.Poststop, c.stateAs(specs.StateStopped).State)
	}
	return c.Close()
}

// removeDir removes the state directory. What is in it is known, which saves looking.
func (c *Container) removeDir() error {
	for _, name := range []string{startedName, child.FifoName, filterName, stateName} {
		if name == filterName && !c.rec.Filter {
			continue
		}
		_ = unix.Unlink(filepath.Join(c.dir, name)) // RemoveAll says what is wrong
	}
	if unix.Rmdir(c.dir) == nil {
		return nil
	}
	return os.RemoveAll(c.dir)
}

// emptyRounds bounds how often a group is killed that goes on forking.
const emptyRounds = 100

// empty kills what the first process has left behind in its cgroup, and waits for it. With a pid namespace of its own
// that is nothing: the kernel ended all of it before the first process counted as exited.
func (c *Container) empty(ctx context.Context) error {
	for range emptyRounds {
		pids, err := c.group.Pids()
		if err != nil || len(pids) == 0 {
			return err
		}
		// Kill gives up (Unavailable) while the killed are not gone yet; the waiting is done here.
		if err := c.killAll(ctx, unix.SIGKILL); err != nil && !errdefs.Is(err, errdefs.ErrUnavailable) {
			return err
		}
		for _, pid := range pids {
			if err := waitGone(ctx, pid); err != nil {
				return err
			}
		}
	}
	return errdefs.Unavailable("the processes fork faster than they die")
}

func waitGone(ctx context.Context, pid int) error {
	fd, err := pidfd.Open(pid)
	if err != nil {
		return nil // gone
	}
	defer func() { _ = unix.Close(fd) }()
	return pidfd.Wait(ctx, fd)
}

// Remove clears the state directory of a container that has no state: one whose creator died before it had a process.
func Remove(root, id string) error {
	d, err := dir(root, id)
	if err != nil {
		return err
	}
	if _, err := loadRecord(d, id); !errdefs.IsNotFound(err) {
		return errdefs.Conflict("container %s has a state", id)
	}
	return os.RemoveAll(d)
}
