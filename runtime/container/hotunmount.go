package container

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/safepath"
)

// RemoveMounts takes the mounts of list away from the container, the last first. Only those that AddMounts has made
// can be: a mount that hides or protects something of the container stays whatever the list names. Errors: NotFound for
// a destination that AddMounts has not mounted, FailedPrecondition when the container has put something else there.
func (c *Container) RemoveMounts(_ context.Context, list []specs.Mount) error {
	if err := c.removeMounts(list); err != nil {
		return fmt.Errorf("container %s: remove mounts: %w", c.ID(), err)
	}
	return nil
}

func (c *Container) removeMounts(list []specs.Mount) error {
	if err := c.mayMount(); err != nil {
		return err
	}
	known, err := c.added()
	if err != nil {
		return err
	}
	var gone []added
	for _, m := range slices.Backward(list) {
		dest := safepath.Clean(m.Destination)
		i := lastIndex(known, dest)
		if i < 0 {
			return errdefs.NotFound("mount %s: was not added to this container", dest)
		}
		gone = append(gone, known[i])
		known = slices.Delete(known, i, i+1)
	}
	slices.Reverse(gone)
	if err := c.unmount(gone); err != nil {
		return err
	}
	return c.saveAdded(known)
}

// unmount takes list away, the last first.
func (c *Container) unmount(list []added) error {
	return namespace.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(c.Pidfd(), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter the container's mount namespace: %w", err)
		}
		root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(root) }()
		return unmountAll(safepath.At(root), list)
	})
}

func lastIndex(list []added, dest string) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Destination == dest {
			return i
		}
	}
	return -1
}

// unmountAll unmounts list, the last first, in the mount namespace of the calling thread.
func unmountAll(root safepath.Root, list []added) error {
	if len(list) == 0 {
		return nil
	}
	proc, err := mount.PrivateProc()
	if err != nil {
		return err
	}
	defer proc.Close()
	if err := unix.Fchdir(int(proc)); err != nil {
		return err
	}
	for _, a := range slices.Backward(list) {
		if err := unmountOne(root, a); err != nil {
			return fmt.Errorf("mount %s: %w", a.Destination, err)
		}
	}
	return nil
}

// unmountOne looks the place up once, and unmounts by that descriptor if it is the mount: umount(2) takes paths only,
// and the one through a proc that nobody can cover leads exactly there. The working directory is that proc.
func unmountOne(root safepath.Root, a added) error {
	flags := unix.O_PATH
	if a.NoFollow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := root.Open(a.Destination, flags)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	id, err := mount.Tree(fd).ID()
	if err != nil {
		return err
	}
	if id != a.ID {
		return errdefs.FailedPrecondition("another mount is there now")
	}
	if err := unix.Unmount("thread-self/fd/"+strconv.Itoa(fd), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return nil
}
