package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// PID returns the process that listens at a unix socket, as the kernel knows it (SO_PEERCRED): a pid file may be of
// another life. 0 when nothing listens.
func PID(socket string) (int, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = c.Close() }()
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%s: not a unix socket", socket)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, cerr
	}
	return int(cred.Pid), nil
}

// Stop asks the engine at socket to end (SIGTERM) and waits until it has, at most for bound. Its containers go on.
// The error is of class not found when nothing listens.
func Stop(ctx context.Context, socket string, bound time.Duration) (int, error) {
	pid, err := PID(socket)
	if err != nil {
		return 0, err
	}
	if pid == 0 {
		return 0, errdefs.NotFound("no engine answers at unix://%s", socket)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return pid, fmt.Errorf("engine %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if now, err := PID(socket); err != nil || now != pid {
		return pid, errdefs.Unavailable("the engine at unix://%s is ending already", socket)
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return pid, fmt.Errorf("stop engine %d: %w", pid, err)
	}
	deadline := time.Now().Add(bound)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 200)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return pid, err
		}
		if n > 0 {
			return pid, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return pid, err
	}
	return pid, fmt.Errorf("engine %d did not end within %s", pid, bound)
}
