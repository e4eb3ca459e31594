package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
)

// Without pivot_root(2) the host's tree stays below the container's root. Nobody can walk there, but the kernel does count it:
// a user namespace may mount a new proc or sysfs as soon as its mount namespace has a whole one without locked mounts
// over parts of it (mnt_already_visible in fs/namespace.c), and then has it without the container's masks.

// kernelViews are the places of the host's whole proc and sysfs mounts. They are looked for before the container's own are there.
func kernelViews() (points []string, err error) {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	for _, m := range parseMounts(string(b)) {
		if m.root == "/" && (m.fstype == "proc" || m.fstype == "sysfs") {
			points = append(points, m.point)
		}
	}
	return points, nil
}

// dropViews takes the host's proc and sysfs out of this mount namespace; what is locked there, or would vanish from
// the host as well since the root is shared, is covered instead.
func (b *builder) dropViews() error {
	shared, _ := b.propagation()
	for _, p := range b.views {
		if shared.Kind != unix.MS_SHARED && unix.Unmount(p, unix.MNT_DETACH) == nil {
			continue
		}
		if err := b.coverView(p); err != nil {
			return fmt.Errorf("the host's %s: %w", p, err)
		}
	}
	return nil
}

func (b *builder) coverView(path string) error {
	err := mount.SetPropagationAt(path, unix.MS_SLAVE, true)
	if missing(err) || errors.Is(err, unix.EINVAL) {
		return nil // it was below one that is gone
	}
	if err != nil {
		return err
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return b.coverDirectory(fd)
}
