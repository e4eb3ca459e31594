package container

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
)

// hold makes a process that does nothing, for systemd: a scope is made around a process, and is gone with its last one.
// It ends with dismiss, when the container's own is in the scope, and with this program in any case.
func hold() (pid int, dismiss func(), err error) {
	host, inside, err := handshake.Pair()
	if err != nil {
		return 0, nil, err
	}
	pid, fd, err := child.Clone(child.Holder(inside), 0, -1)
	_ = unix.Close(inside)
	if err != nil {
		_ = unix.Close(host)
		return 0, nil, fmt.Errorf("holder of the scope: %w", err)
	}
	return pid, func() {
		_ = pidfd.Signal(fd, unix.SIGKILL)
		reap(fd)
		_ = unix.Close(fd)
		_ = unix.Close(host)
	}, nil
}
