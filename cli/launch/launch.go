// Package launch starts, finds and stops the engine (conexd) that belongs to the default socket.
//
//	conex ──▶ lock <dir>/launch.lock ──▶ fork conexd in a session of its own ──▶ wait: the socket appears (inotify)
//	                                                                               or conexd exits (pidfd)
//	      ◀── the ping is answered ◀── connect and send a ping: the kernel queues both until conexd serves ◀──┘
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is the run directory of the default engine, Socket its address, Log what it writes to.
const (
	Dir    = "/run/conex"
	Socket = Dir + "/conex.sock"
	Log    = Dir + "/conexd.log"
)

// patience bounds the start of an engine; recovery of many containers may take seconds.
const patience = 30 * time.Second

// Engine is an engine to start.
type Engine struct {
	Program string   // path of conexd
	Args    []string // its flags
	Socket  string
	Log     string
}

// Find returns the path of conexd: beside this program, else in PATH.
func Find() (string, error) {
	if self, err := os.Executable(); err == nil {
		if p, err := filepath.EvalSymlinks(self); err == nil {
			self = p
		}
		p := filepath.Join(filepath.Dir(self), "conexd")
		if st, err := os.Stat(p); err == nil && !st.IsDir() {
			return p, nil
		}
	}
	p, err := exec.LookPath("conexd")
	if err != nil {
		return "", errors.New("conexd was not found beside conex nor in PATH: install it, or name a running engine with -H or CONEX_HOST")
	}
	return p, nil
}

// Start starts e and returns when it answers. pid is 0 when another process had started it meanwhile.
func Start(ctx context.Context, e Engine) (pid int, err error) {
	if err := os.MkdirAll(filepath.Dir(e.Socket), 0o755); err != nil {
		return 0, fmt.Errorf("start the engine: %w", err)
	}
	lock, err := lockFile(filepath.Join(filepath.Dir(e.Socket), "launch.lock"))
	if err != nil {
		return 0, fmt.Errorf("start the engine: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if Answers(e.Socket) {
		return 0, nil
	}
	w, err := newWatch(filepath.Dir(e.Socket))
	if err != nil {
		return 0, fmt.Errorf("start the engine: %w", err)
	}
	defer w.close()
	pid, err = e.spawn(w)
	if err != nil {
		return 0, fmt.Errorf("start the engine: %w", err)
	}
	return pid, w.wait(ctx, e)
}

// Answers reports whether an engine serves at the socket. One that listens but does not serve yet is waited for: a
// listening socket is no promise, an answer is. An engine that dies meanwhile resets the connection.
func Answers(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return false
	}
	if _, err := c.Write([]byte("GET /_ping HTTP/1.1\r\nHost: conex\r\nConnection: close\r\n\r\n")); err != nil {
		return false
	}
	var head [5]byte
	_, err = io.ReadFull(c, head[:])
	return err == nil && string(head[:]) == "HTTP/"
}

// lockFile keeps two clients from starting two engines.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func (e Engine) spawn(w *watch) (int, error) {
	log, err := os.OpenFile(e.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return 0, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(e.Program, e.Args...)
	if len(e.Args) == 0 { // flags may name files relative to the caller's directory
		cmd.Dir = "/"
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &w.process}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release()
	return pid, nil
}

// watch waits for the socket of an engine, or for the engine's death.
type watch struct {
	inotify int
	process int // pidfd
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ATTRIB); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return &watch{inotify: fd, process: -1}, nil
}

func (w *watch) close() {
	_ = unix.Close(w.inotify)
	if w.process >= 0 {
		_ = unix.Close(w.process)
	}
}

func (w *watch) wait(ctx context.Context, e Engine) error {
	err := w.served(ctx, e.Socket, patience)
	switch {
	case errors.Is(err, errEnded):
		return fmt.Errorf("the engine (%s) ended before it answered: %s", e.Program, lastLine(e.Log))
	case errors.Is(err, errLate):
		return fmt.Errorf("the engine (%s) did not open %s within %s: see %s", e.Program, e.Socket, patience, e.Log)
	}
	return err
}

var (
	errEnded = errors.New("the engine ended")
	errLate  = errors.New("the engine did not answer in time")
)

// served returns once an engine serves at the socket, at most after bound.
func (w *watch) served(ctx context.Context, socket string, bound time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(w.inotify), Events: unix.POLLIN}, {Fd: int32(w.process), Events: unix.POLLIN}}
	deadline := time.Now().Add(bound)
	for ms := 200; !Answers(socket); {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fds[1].Revents != 0:
			return errEnded
		case time.Now().After(deadline):
			return errLate
		}
		if _, err := unix.Poll(fds, ms); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the engine: %w", err)
		}
		ms = 200 // only so that ctx and the deadline are seen
		if fds[0].Revents != 0 {
			var buf [4096]byte
			_, _ = unix.Read(w.inotify, buf[:])
			ms = 5 // bind(2) made the file, listen(2) follows: there is no event for that
		}
	}
	return nil
}

// Await waits until an engine serves at the socket again, at most for bound: one that is being restarted.
func Await(ctx context.Context, socket string, bound time.Duration) error {
	w, err := newWatch(filepath.Dir(socket))
	if err != nil {
		return err
	}
	defer w.close()
	return w.served(ctx, socket, bound)
}

func lastLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return "it wrote nothing to " + path
	}
	return last + " (log " + path + ")"
}
