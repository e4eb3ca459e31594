// Package inode sets flags of inodes (ioctl_iflags(2)).
package inode

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// topDir is FS_TOPDIR_FL of linux/fs.h.
const topDir = 0x00020000

// Spread tells the file system that the directories inside dir have nothing to do with each other (chattr +T), so that
// ext4 puts each of them into a block group of its own choice instead of all into dir's. An ext4 without a journal
// gives an inode that was deleted in the last minutes to nobody, and looks at every one of the group to find a free
// one (recently_deleted in fs/ext4/ialloc.c): where directories come and go in one group each new file costs up to a
// millisecond. On file systems that do not know the flag nothing happens.
func Spread(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { _ = unix.Close(fd) }()
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err == nil && flags&topDir == 0 {
		err = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|topDir)
	}
	for _, unknown := range []unix.Errno{unix.ENOTTY, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSYS, unix.EPERM} {
		if errors.Is(err, unknown) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("spread the directories of %s: %w", dir, err)
	}
	return nil
}
