package stdio

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Bounds of a logger: how long it may take to be ready, to end by itself when its streams have ended, and to end when
// it was told to.
const (
	loggerReady  = 20 * time.Second
	loggerEnd    = 10 * time.Second
	loggerSIGTRM = 2 * time.Second
)

// logger is a program that takes a container's output, as containerd starts it for binary:///path?key=value: its
// arguments are the keys and values, CONTAINER_ID and CONTAINER_NAMESPACE are in its environment, its descriptors 3
// and 4 are the streams, and it closes descriptor 5 when it is ready.
type logger struct {
	pidfd  int
	writes [2]*os.File
}

// isLogger reports whether a target is a program.
func isLogger(target string) bool {
	u, err := url.Parse(target)
	return err == nil && u.Scheme == "binary"
}

func startLogger(p *Paths) (_ *logger, err error) {
	u, err := url.Parse(p.Stdout)
	if err != nil {
		return nil, errdefs.InvalidArgument("logger %s: %w", p.Stdout, err)
	}
	var files [6]*os.File // 0-2 unused; what the logger gets as 3, 4, 5
	l := &logger{pidfd: -1}
	defer func() {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
		if err != nil {
			l.close()
		}
	}()
	for i := range l.writes {
		if files[3+i], l.writes[i], err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("logger: %w", err)
		}
	}
	ready, readyEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("logger: %w", err)
	}
	defer func() { _ = ready.Close() }()
	files[5] = readyEnd
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	_, err = syscall.ForkExec(u.Path, loggerArgs(u), &syscall.ProcAttr{
		Env:   append(os.Environ(), "CONTAINER_ID="+p.ID, "CONTAINER_NAMESPACE="+p.Namespace),
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), files[3].Fd(), files[4].Fd(), files[5].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &l.pidfd},
	})
	if err != nil {
		return nil, fmt.Errorf("logger %s: %w", u.Path, err)
	}
	_ = readyEnd.Close()
	files[5] = nil
	return l, awaitReady(ready, u.Path)
}

// loggerArgs are the program's arguments: each key of the query, and its first value.
func loggerArgs(u *url.URL) []string {
	args := []string{u.Path}
	for key, values := range u.Query() {
		args = append(args, key)
		if len(values) > 0 {
			args = append(args, values[0])
		}
	}
	return args
}

func awaitReady(ready *os.File, path string) error {
	_ = ready.SetReadDeadline(time.Now().Add(loggerReady))
	var b [1]byte
	if _, err := ready.Read(b[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return errdefs.Unavailable("logger %s is not ready after %s: it must close its descriptor 5", path, loggerReady)
	}
	return nil
}

// close ends the streams on this side, and sees to it that the logger ends when it has taken them.
func (l *logger) close() {
	for i, f := range l.writes {
		if f != nil {
			_ = f.Close()
			l.writes[i] = nil
		}
	}
	if l.pidfd < 0 {
		return
	}
	pidfd := l.pidfd
	l.pidfd = -1
	go func() {
		defer func() { _ = unix.Close(pidfd) }()
		for _, step := range []struct {
			wait time.Duration
			sig  unix.Signal
		}{{loggerEnd, unix.SIGTERM}, {loggerSIGTRM, unix.SIGKILL}} {
			fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
			if n, err := unix.Poll(fds, int(step.wait.Milliseconds())); n > 0 || err != nil && err != unix.EINTR {
				return
			}
			_ = unix.PidfdSendSignal(pidfd, step.sig, nil, 0)
		}
	}()
}
