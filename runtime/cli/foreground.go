package cli

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/linux/pty"
)

// foreground is the caller's side of a process that it waits for: signals go through, a terminal is relayed.
type foreground struct {
	a       *app
	signals chan os.Signal
	master  *os.File
	old     *term.State
	copied  chan struct{}
}

// newForeground begins to collect signals, so that none is lost before there is somebody to send it to. They are
// those that people and managers send to a program in the foreground: each costs four switches between threads
// to register, so not all 64 of them.
func newForeground(a *app) *foreground {
	f := &foreground{a: a, signals: make(chan os.Signal, 128)}
	signal.Notify(f.signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	return f
}

// terminal relays the process's terminal to this program's own. Turning a line's end into CR LF is left to the
// outer one: both doing it would write two CR.
func (f *foreground) terminal(master *os.File) error {
	f.master = master
	if err := changeOutput(int(master.Fd()), 0, unix.ONLCR); err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	signal.Notify(f.signals, unix.SIGWINCH)
	f.resize()
	if in := int(f.a.stdin.Fd()); term.IsTerminal(in) {
		old, err := term.MakeRaw(in)
		if err != nil {
			return fmt.Errorf("terminal: raw mode: %w", err)
		}
		f.old = old
		if err := changeOutput(in, unix.OPOST, 0); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	go func() { _, _ = io.Copy(master, f.a.stdin) }()
	f.copied = make(chan struct{})
	go func() {
		defer close(f.copied)
		_, _ = io.Copy(f.a.stdout, master) // ends with EIO when the last one closes the other side
	}()
	return nil
}

// changeOutput sets and clears output flags of a terminal (termios(3)).
func changeOutput(fd int, set, clearFlags uint32) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Oflag = t.Oflag&^clearFlags | set
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

func (f *foreground) resize() {
	w, h, err := term.GetSize(int(f.a.stdin.Fd()))
	if f.master == nil || err != nil || w == 0 {
		return
	}
	_ = pty.Resize(f.master, uint16(w), uint16(h))
}

// drainTime bounds how long the terminal's last output is waited for: a process that outlives the first one in a
// shared pid namespace may hold it open.
const drainTime = time.Second

// wait forwards signals until process pid has ended, reaps it and whatever was handed to this process as the
// subreaper, and returns its exit code.
func (f *foreground) wait(pid, fd int) (int, error) {
	ended := make(chan struct{})
	go func() {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(p, -1); err != unix.EINTR {
				close(ended)
				return
			}
		}
	}()
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case s := <-f.signals:
			f.forward(fd, s)
		}
	}
	code, err := reap(pid)
	if f.copied != nil {
		select {
		case <-f.copied:
		case <-time.After(drainTime):
		}
	}
	return code, err
}

func (f *foreground) forward(fd int, s os.Signal) {
	sig, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	if sig == unix.SIGWINCH {
		f.resize() // the kernel tells the process by the terminal
		return
	}
	_ = pidfd.Signal(fd, sig)
}

// reap takes pid's status, and of other children those that have ended.
func reap(pid int) (int, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 1, fmt.Errorf("wait for process %d: %w", pid, err)
		}
		break
	}
	var other unix.WaitStatus
	for {
		n, err := unix.Wait4(-1, &other, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return exitCode(ws), nil
		}
	}
}

// close gives the terminal back. Signals stay collected: the program is about to end, and letting go of each costs as
// much as its registration.
func (f *foreground) close() {
	if f.old != nil {
		_ = term.Restore(int(f.a.stdin.Fd()), f.old)
	}
	if f.master != nil {
		_ = f.master.Close()
	}
}
