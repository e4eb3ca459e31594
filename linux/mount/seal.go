package mount

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Sealed opens the executable at path in a detached, read-only clone of the mount that it is on (open_tree(2),
// mount_setattr(2)). A process that opens /proc/<pid>/exe of one that runs it for writing gets EROFS, and cannot undo
// the read-only flag, because the mount is in no namespace (CVE-2019-5736).
func Sealed(path string) (fd int, err error) {
	fd, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("mount_setattr %s: %w", path, err)
	}
	return fd, nil
}
