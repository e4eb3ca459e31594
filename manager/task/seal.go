package task

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// sealedFloor is the lowest descriptor number of a sealed binary: above all that a shim inherits, so that the child
// does not overwrite it before execve(2).
const sealedFloor = 64

// sealed is an executable that nobody can write through a process that runs it: a detached, read-only clone of the
// mount that it is on (open_tree(2), mount_setattr(2)). A container that opens its shim's /proc/<pid>/exe for
// writing gets EROFS, and cannot undo the read-only flag, because the mount is in no namespace (CVE-2019-5736).
type sealed struct {
	file *os.File // nil: the kernel refused, path is executed as it is
	path string
}

// seal prepares the binary at path. A kernel without the new mount API gives an unsealed one and a log line.
func seal(path string, log *slog.Logger) (*sealed, error) {
	if st, err := os.Stat(path); err != nil {
		return nil, errdefs.NotFound("the shim's binary is missing: %w (build it with make, or name it with --shim)", err)
	} else if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return nil, errdefs.InvalidArgument("%s is no executable", path)
	}
	fd, err := openSealed(path)
	if err != nil {
		log.Warn("shim binary is not sealed against writes from containers", "op", "seal", "path", path, "err", err)
		return &sealed{path: path}, nil
	}
	return &sealed{file: os.NewFile(uintptr(fd), path), path: "/proc/self/fd/" + strconv.Itoa(fd)}, nil
}

func openSealed(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return -1, fmt.Errorf("mount_setattr %s: %w", path, err)
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, sealedFloor)
	if err != nil {
		return -1, fmt.Errorf("dup %s: %w", path, err)
	}
	return high, nil
}

// Close lets the mount go; shims that run from it keep it alive.
func (s *sealed) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
