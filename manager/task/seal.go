package task

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// sealed is an executable that nobody can write through a process that runs it (mount.Sealed).
type sealed struct {
	file *os.File // nil: the kernel refused, path is executed as it is
	path string
}

// spareFDs is how many numbers above the highest descriptor that a child inherits syscall.ForkExec may overwrite in
// the child: one for each, and one for its own pipe.
const spareFDs = 16

// seal prepares the binary at path. A kernel without the new mount API gives an unsealed one and a log line.
func seal(path string, log *slog.Logger) (*sealed, error) {
	if st, err := os.Stat(path); err != nil {
		return nil, errdefs.NotFound("the shim's binary is missing: %w (build it with make, or name it with --shim)", err)
	} else if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return nil, errdefs.InvalidArgument("%s is no executable", path)
	}
	fd, err := mount.Sealed(path)
	if err != nil {
		log.Warn("shim binary is not sealed against writes from containers", "op", "seal", "path", path, "err", err)
		return &sealed{path: path}, nil
	}
	return &sealed{file: os.NewFile(uintptr(fd), path), path: path}, nil
}

// executable returns a path of the binary for a child that inherits files, and what is to be called when it runs.
// The path leads through a descriptor in the child: its number is above all that the child moves its files to.
func (s *sealed) executable(files []uintptr) (path string, done func(), err error) {
	if s.file == nil {
		return s.path, func() {}, nil
	}
	floor := int(slices.Max(files)) + spareFDs
	fd, err := unix.FcntlInt(s.file.Fd(), unix.F_DUPFD_CLOEXEC, floor)
	if err != nil {
		return "", nil, fmt.Errorf("dup the sealed binary: %w", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), func() { _ = unix.Close(fd) }, nil
}

// Close lets the mount go; shims that run from it keep it alive.
func (s *sealed) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
