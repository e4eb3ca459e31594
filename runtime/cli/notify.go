package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/container"
)

// notifyVariable names the service manager's socket (sd_notify(3)).
const notifyVariable = "NOTIFY_SOCKET"

const (
	notifySocket  = "/run/notify/notify.sock" // the container's, as runc places it
	notifyLimit   = 4096                      // of a datagram
	barrierMillis = 30_000                    // how long the service manager has to take a message
)

// notifyPlace is the container's notification socket: none without one of the runtime's.
func (a *app) notifyPlace() string {
	host := os.Getenv(notifyVariable)
	switch {
	case host == "":
		return ""
	case a.manner.notifyBelow && path.IsAbs(host):
		return path.Join(host, notifyName)
	}
	return notifySocket
}

// notifyName is crun's name of the socket in a directory that is named as the runtime's socket.
const notifyName = "notify"

// notifier waits for a container's word that it is ready and hands it on. nil is one that nobody asked for.
type notifier struct {
	socket int
	host   string
	quiet  bool
}

// notifier listens for made; before its start, so that no word is lost.
func (a *app) notifier(made *container.Container) (*notifier, error) {
	host := os.Getenv(notifyVariable)
	if host == "" {
		return nil, nil
	}
	fd, err := made.ListenNotify()
	if err != nil || fd < 0 {
		return nil, err
	}
	return &notifier{socket: fd, host: host, quiet: a.manner.notifyQuiet}, nil
}

func (n *notifier) close() {
	if n != nil {
		_ = unix.Close(n.socket)
	}
}

// detached waits until the container is ready or has ended, and tells the service manager that made's process is the
// service's. The message is taken before this returns: of a process that is gone nobody would know the service.
func (n *notifier) detached(ctx context.Context, made *container.Container) error {
	if n == nil {
		return nil
	}
	ready, err := n.ready(ctx, made.Pidfd())
	if err != nil || !ready {
		return err
	}
	manager, err := n.tell(made.Pid())
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(manager) }()
	return barrier(manager)
}

// attached does so in the background for this program in the foreground, which stays the service's process. The function
// that it returns waits for the end of that, which comes with the container's.
func (n *notifier) attached(ctx context.Context, a *app, made *container.Container) func() {
	if n == nil {
		return func() {}
	}
	pid := os.Getpid()
	if a.second {
		pid = os.Getppid() // the one that the service manager knows
	}
	process := made.Pidfd()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ready, err := n.ready(ctx, process)
		if err == nil && ready {
			var manager int
			if manager, err = n.tell(pid); err == nil {
				_ = unix.Close(manager)
			}
		}
		if err != nil {
			logging.From(ctx).Warn("readiness is not passed on", "container", made.ID(), "err", err)
		}
	}()
	return func() { <-done }
}

// ready reads datagrams until one has the line READY=1, or the process has ended. Everything else a container says is its
// own affair: MAINPID or FDSTORE of a container are not to reach the service manager.
func (n *notifier) ready(ctx context.Context, process int) (bool, error) {
	buf := make([]byte, notifyLimit)
	for {
		if _, err := pidfd.Poll(ctx, n.socket, process); err != nil {
			return false, err
		}
		// What is read after the end was seen is all that there will be: a program may say it and end. Descriptors that
		// come along (BARRIER=1) are closed by not being received, which is the answer to them.
		ended := pidfd.Exited(process)
		size, _, err := unix.Recvfrom(n.socket, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if ended {
				return false, nil
			}
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("notification socket: %w", err)
		case isReady(buf[:size]):
			return true, nil
		}
	}
}

func isReady(message []byte) bool {
	for line := range bytes.SplitSeq(message, []byte("\n")) {
		if string(line) == "READY=1" {
			return true
		}
	}
	return false
}

// tell sends the word to the service manager, and returns the socket.
func (n *notifier) tell(mainPid int) (int, error) {
	lines := []string{"READY=1"}
	if !n.quiet {
		lines = append(lines, "MAINPID="+strconv.Itoa(mainPid))
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err = unix.Connect(fd, &unix.SockaddrUnix{Name: n.host}); err == nil {
		_, err = unix.Write(fd, []byte(strings.Join(lines, "\n")+"\n"))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("%s %s: %w", notifyVariable, n.host, err)
	}
	return fd, nil
}

// barrier waits until the service manager has taken all that was sent: it gets one end of a pipe and closes it
// (sd_notify_barrier(3)).
func barrier(manager int) error {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer func() { _ = unix.Close(pipe[0]) }()
	err := unix.Sendmsg(manager, []byte("BARRIER=1"), unix.UnixRights(pipe[1]), nil, 0)
	_ = unix.Close(pipe[1])
	if err != nil {
		return fmt.Errorf("%s: barrier: %w", notifyVariable, err)
	}
	p := []unix.PollFd{{Fd: int32(pipe[0])}}
	n, err := unix.Poll(p, barrierMillis)
	for err == unix.EINTR {
		n, err = unix.Poll(p, barrierMillis)
	}
	if err == nil && n == 0 {
		err = fmt.Errorf("%s: the service manager does not read: %w", notifyVariable, unix.ETIMEDOUT)
	}
	return err
}
