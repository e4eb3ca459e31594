package mount

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Tree is the descriptor of a mount, detached (attached nowhere yet) or attached. It also serves as an O_PATH
// descriptor of the mount's root directory or file.
type Tree int

// Clone makes a detached bind mount of what path below dirfd is, with all mounts below it when recursive. An empty
// path means dirfd itself.
func Clone(dirfd int, path string, recursive bool) (Tree, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return openTree(dirfd, path, flags)
}

// CloneLink is Clone for a path whose last element is taken as it is: a symbolic link there is bound itself.
func CloneLink(dirfd int, path string) (Tree, error) {
	return openTree(dirfd, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
}

func openTree(dirfd int, path string, flags uint) (Tree, error) {
	fd, err := unix.OpenTree(dirfd, path, flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	return Tree(fd), nil
}

// Attach mounts the detached tree on the directory or file that the descriptor target is.
func (t Tree) Attach(target int) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	if err := unix.MoveMount(int(t), "", target, "", flags); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// AttachPath is Attach for a path of the caller's own.
func (t Tree) AttachPath(path string) error {
	if err := unix.MoveMount(int(t), "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount %s: %w", path, err)
	}
	return nil
}

// Close closes the descriptor; a detached tree is gone with it.
func (t Tree) Close() {
	if t >= 0 {
		_ = unix.Close(int(t))
	}
}

// ID is the kernel's number of the mount: before Linux 6.8, which has ones that are never given again, that of mountinfo.
func (t Tree) ID() (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(t), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return 0, fmt.Errorf("statx: %w", err)
	}
	if st.Mask&(unix.STATX_MNT_ID|unix.STATX_MNT_ID_UNIQUE) == 0 {
		return 0, errdefs.NotImplemented("this kernel does not number its mounts")
	}
	return st.Mnt_id, nil
}

// Attr is a change of mount attributes: MOUNT_ATTR_* to set and to clear.
type Attr struct {
	Set   uint64
	Clear uint64
}

// Empty reports whether nothing changes.
func (a Attr) Empty() bool { return a.Set == 0 && a.Clear == 0 }

// SetAttr changes the mount's attributes, with those of all mounts below it when recursive.
func (t Tree) SetAttr(a Attr, recursive bool) error {
	if a.Empty() {
		return nil
	}
	return t.setattr(unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear}, recursive)
}

// SetPropagation makes the mount (all below it too when recursive) MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE.
func (t Tree) SetPropagation(kind uint64, recursive bool) error {
	return t.setattr(unix.MountAttr{Propagation: kind}, recursive)
}

// SetIDMap shows the tree's owners through the user namespace's mapping. The tree must be detached still.
func (t Tree) SetIDMap(userns int, recursive bool) error {
	return t.setattr(unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}, recursive)
}

func (t Tree) setattr(attr unix.MountAttr, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(int(t), "", flags, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// SetPropagationAt is SetPropagation for a mount by path, "/" being the caller's root.
func SetPropagationAt(path string, kind uint64, recursive bool) error {
	var flags uint
	if recursive {
		flags = unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &unix.MountAttr{Propagation: kind}); err != nil {
		return fmt.Errorf("mount_setattr %s: %w", path, err)
	}
	return nil
}
