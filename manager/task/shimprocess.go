package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// shimProcess is a shim as a process: a child of this daemon, or of an earlier one. Its end is seen through its
// pidfd by the Go runtime's poller, so a waiting shim costs no thread.
type shimProcess struct {
	pid  int
	file *os.File // the pidfd
	gone chan struct{}
}

// newShimProcess takes over the pidfd and watches it.
func newShimProcess(pid, pidfd int) (*shimProcess, error) {
	if pidfd < 0 {
		var err error
		if pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			return nil, fmt.Errorf("pidfd of shim %d: %w", pid, err)
		}
	}
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return nil, fmt.Errorf("pidfd of shim %d: %w", pid, err)
	}
	p := &shimProcess{pid: pid, file: os.NewFile(uintptr(pidfd), "pidfd"), gone: make(chan struct{})}
	go p.watch()
	return p, nil
}

// watch ends when the process has ended, and reaps it when it is this daemon's child.
func (p *shimProcess) watch() {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	ended := false
	err = conn.Read(func(fd uintptr) bool {
		ended = pidfdEnded(fd)
		return ended
	})
	if err != nil || !ended {
		return // the file was closed: the service was
	}
	_ = conn.Control(func(fd uintptr) {
		// ECHILD: an earlier daemon's child, which init reaps.
		_ = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED, nil)
	})
	close(p.gone)
}

func pidfdEnded(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// kill ends the process at once.
func (p *shimProcess) kill() error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := conn.Control(func(fd uintptr) {
		sendErr = unix.PidfdSendSignal(int(fd), syscall.SIGKILL, nil, 0)
	}); err != nil {
		return err
	}
	if sendErr != nil && !errors.Is(sendErr, unix.ESRCH) {
		return fmt.Errorf("kill shim %d: %w", p.pid, sendErr)
	}
	return nil
}

// wait returns when the process is gone.
func (p *shimProcess) wait(ctx context.Context) error {
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for shim %d: %w", p.pid, ctx.Err())
	}
}

// close lets the pidfd go; the process is not touched.
func (p *shimProcess) close() { _ = p.file.Close() }
