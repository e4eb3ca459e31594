package task

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Root opens the root directory of a task's first process, with everything that is mounted for it, by O_PATH. The
// process is asked for again afterwards: only while it is known to live is its number surely its own.
func (s *Service) Root(ctx context.Context, ns, id string) (*os.File, error) {
	before, err := s.Status(ctx, ns, id, "")
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/proc/%d/root", before.Pid)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	ended, stateErr := s.Ended(ctx, ns, id, "")
	if err == nil && stateErr == nil && !ended {
		return os.NewFile(uintptr(fd), path), nil
	}
	if err == nil {
		_ = unix.Close(fd)
	}
	if stateErr != nil {
		return nil, stateErr
	}
	return nil, errdefs.Conflict("task %s: its process has ended", id)
}
