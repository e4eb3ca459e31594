// Package pidfd names processes by descriptor: a pid may belong to somebody else a moment later, a pidfd may not.
package pidfd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Open returns a descriptor of process pid (the caller closes it); errdefs.ErrNotFound when there is none.
func Open(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH || err == unix.EINVAL {
		return -1, errdefs.NotFound("process %d: %w", pid, err)
	}
	if err != nil {
		return -1, fmt.Errorf("process %d: pidfd_open: %w", pid, err)
	}
	return fd, nil
}

// OpenStarted is Open for the process pid that started at start (StartTime); another one by the same number is
// errdefs.ErrNotFound.
func OpenStarted(pid int, start uint64) (int, error) {
	fd, err := Open(pid)
	if err != nil {
		return -1, err
	}
	// The descriptor holds the number only once it is open, so the time is read after it.
	if now, err := StartTime(pid); err != nil || now != start {
		_ = unix.Close(fd)
		return -1, errdefs.NotFound("process %d: gone", pid)
	}
	return fd, nil
}

// Signal sends sig.
func Signal(fd int, sig syscall.Signal) error {
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// Exited reports whether the process has ended, reaped or not.
func Exited(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1
}

// Wait returns when the process has ended, or with the context's error.
func Wait(ctx context.Context, fd int) error {
	_, err := Poll(ctx, fd)
	return err
}

// Poll waits until one of the descriptors has something to read, hangs up, or fails; ready has its events, in order.
func Poll(ctx context.Context, fds ...int) (ready []int16, err error) {
	p := make([]unix.PollFd, 0, len(fds)+1)
	for _, fd := range fds {
		p = append(p, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if ctx.Done() != nil {
		wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("eventfd: %w", err)
		}
		fired := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
			close(fired)
		})
		defer func() {
			if !stop() {
				<-fired // never write to a descriptor that is closed and perhaps another's already
			}
			_ = unix.Close(wake)
		}()
		p = append(p, unix.PollFd{Fd: int32(wake), Events: unix.POLLIN})
	}
	for {
		_, err := unix.Poll(p, -1)
		if err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("poll: %w", err)
		}
		if err == nil {
			break
		}
	}
	any := false
	for i := range fds {
		ready = append(ready, p[i].Revents)
		any = any || p[i].Revents != 0
	}
	if !any {
		return nil, ctx.Err()
	}
	return ready, nil
}

// GetFD duplicates the process's descriptor n (pidfd_getfd(2)); the caller closes it.
func GetFD(fd, n int) (int, error) {
	got, err := unix.PidfdGetfd(fd, n, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd %d: %w", n, err)
	}
	return got, nil
}

// StartTime is when the process started, in clock ticks since boot: with the pid it names a process for this boot.
func StartTime(pid int) (uint64, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var b [1024]byte // more than 22 fields can take; every start reads it, so no file and no heap for it
	n, err := unix.Read(fd, b[:])
	for err == unix.EINTR {
		n, err = unix.Read(fd, b[:])
	}
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return parseStart(b[:n])
}

// parseStart reads field 22 of /proc/PID/stat. The command in field 2 may hold any byte, also ") R 1", so fields are
// counted from the last parenthesis.
func parseStart(stat []byte) (uint64, error) {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, errdefs.InvalidArgument("proc stat %q: no command", stat)
	}
	number := 2
	for field := range bytes.FieldsSeq(stat[i+1:]) {
		if number++; number < 22 {
			continue
		}
		n, err := strconv.ParseUint(string(field), 10, 64)
		if err != nil {
			return 0, errdefs.InvalidArgument("proc stat: start time: %w", err)
		}
		return n, nil
	}
	return 0, errdefs.InvalidArgument("proc stat %q: too short", stat)
}
