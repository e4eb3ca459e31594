package rootfs

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/safepath"
)

// Bind is a host directory or file that belongs at a place of a root file system.
type Bind struct {
	Source      string
	Destination string
	ReadOnly    bool
}

// Inside assembles the root file system of a container that does not run, what a snapshotter returned with the binds
// on it, and runs fn with an O_PATH descriptor of its root directory. All of it is mounted in a namespace of its own
// that ends with fn: nobody else sees it, and a crash leaves nothing. Missing mount points are made.
func Inside(ctx context.Context, mounts []mount.Mount, readOnly bool, binds []Bind, fn func(root *os.File) error) error {
	attrs := uint64(unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
	if readOnly && len(binds) == 0 {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	top, err := Detach(mounts, attrs)
	if err != nil {
		return err
	}
	defer func() { _ = top.Close() }()
	if len(binds) == 0 {
		return fn(top)
	}
	return namespace.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
		if err := mount.SetPropagationAt("/", unix.MS_PRIVATE, true); err != nil {
			return err
		}
		// The sources are opened before the root covers anything.
		trees, err := clones(binds)
		defer closeAll(trees)
		if err != nil {
			return err
		}
		if err := mount.Tree(top.Fd()).AttachPath("/sys"); err != nil { // a directory that every host has and nobody here needs
			return err
		}
		for i, b := range binds {
			if err := attach(safepath.At(int(top.Fd())), trees[i], b.Destination); err != nil {
				return fmt.Errorf("mount %s: %w", b.Destination, err)
			}
		}
		if readOnly { // not before, for missing mount points
			if err := mount.Tree(top.Fd()).SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return fn(top)
	})
}

func clones(binds []Bind) ([]mount.Tree, error) {
	trees := make([]mount.Tree, 0, len(binds))
	for _, b := range binds {
		t, err := mount.Clone(unix.AT_FDCWD, b.Source, true)
		if err != nil {
			return trees, err
		}
		trees = append(trees, t)
		if b.ReadOnly {
			if err := t.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, true); err != nil {
				return trees, fmt.Errorf("%s: %w", b.Source, err)
			}
		}
	}
	return trees, nil
}

func closeAll(trees []mount.Tree) {
	for _, t := range trees {
		t.Close()
	}
}

// attach mounts a tree at a path of the root, making the directory or file that it needs there.
func attach(root safepath.Root, t mount.Tree, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(t), &st); err != nil {
		return err
	}
	open := root.MkdirAll
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		open = root.File
	}
	target, err := open(at, 0o755)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	return t.Attach(target)
}
