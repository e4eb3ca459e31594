// Package first is the process 1 that `docker run --init` puts before a container's program: it starts the program,
// passes signals on to it, reaps every orphan of the pid namespace, and ends as the program ended.
//
// It opens no file and needs no /proc: what it knows is its arguments, its environment and its three streams.
package first

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
)

// The shell's exit codes for a program that does not start.
const (
	exitUsage         = 1
	exitNotExecutable = 126
	exitNotFound      = 127
)

// queue is how many signals wait while one is being passed on.
const queue = 256

// deadly are the signals by which Go's runtime would end this process: they are taken before the program is there to
// get them. The others follow once it runs, as each costs a switch between threads.
var deadly = []os.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT}

// Main runs args ("--" and a command with its arguments) and returns the exit code: the program's, 128 and the
// signal's number for one that a signal ended, 127 or 126 for one that is not there or cannot be executed.
func Main(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 || args[0] == "" {
		_, _ = fmt.Fprintln(os.Stderr, "usage: init -- COMMAND [ARG...]")
		return exitUsage
	}
	code, err := run(args)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func run(args []string) (int, error) {
	if os.Getpid() != 1 {
		// Orphans come to process 1 by themselves, to others only when they ask (prctl(2)).
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return exitUsage, fmt.Errorf("init: become the subreaper: %w", err)
		}
	}
	signals := make(chan os.Signal, queue)
	signal.Notify(signals, deadly...)
	pid, fd, err := start(args)
	if err != nil {
		return exitOf(err), err
	}
	go func() {
		signal.Notify(signals)
		for s := range signals {
			// SIGCHLD is about this process's own children.
			if sig, ok := s.(syscall.Signal); ok && sig != unix.SIGCHLD {
				_ = pidfd.Signal(fd, sig) // ESRCH: it has just ended
			}
		}
	}()
	return reap(pid)
}

// start clones the program's process and returns when it executes: it is in a process group of its own, which has
// the terminal's foreground when there is a terminal.
func start(args []string) (pid, fd int, err error) {
	restoreFiles()
	host, inside, err := handshake.Pair()
	if err != nil {
		return 0, -1, err
	}
	defer func() { _ = unix.Close(host) }()
	prog, err := child.First(inside, args, os.Environ())
	if err != nil {
		_ = unix.Close(inside)
		return 0, -1, err
	}
	pid, fd, err = child.Clone(prog, 0, -1)
	_ = unix.Close(inside)
	if err != nil {
		return 0, -1, err
	}
	m, err := handshake.Read(host)
	if errors.Is(err, io.EOF) {
		return pid, fd, nil
	}
	if err == nil {
		err = &ProgramError{Name: args[0], Errno: unix.Errno(m.Errno)}
	}
	return 0, -1, err
}

// restoreFiles takes back that Go's runtime raised the soft RLIMIT_NOFILE at the start of this process: the program
// has to find the limit of its container. Only package syscall knows what it was, and syscall.Exec sets it before it
// tries; a path that is no file does not succeed.
func restoreFiles() { _ = syscall.Exec("/", []string{"/"}, nil) }

// reap takes the status of every child that ends, its own and those of others that ended before them, until pid did.
func reap(pid int) (int, error) {
	for {
		var ws unix.WaitStatus
		n, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return exitUsage, fmt.Errorf("init: wait: %w", err)
		case n == pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case n == pid:
			return ws.ExitStatus(), nil
		}
	}
}

// ProgramError says that the program cannot be executed, in Docker's words.
type ProgramError struct {
	Name  string
	Errno unix.Errno
}

// Error is the program and why.
func (e *ProgramError) Error() string {
	switch {
	case e.Errno == unix.ENOENT && !strings.ContainsRune(e.Name, '/'):
		return fmt.Sprintf("exec: %q: executable file not found in $PATH", e.Name)
	case e.Errno == unix.ENOENT:
		return fmt.Sprintf("exec: %q: stat %s: %s", e.Name, e.Name, e.Errno.Error())
	}
	return fmt.Sprintf("exec: %q: %s", e.Name, e.Errno.Error())
}

// Unwrap returns the errno of execve(2).
func (e *ProgramError) Unwrap() error { return e.Errno }

func exitOf(err error) int {
	var p *ProgramError
	switch {
	case !errors.As(err, &p):
		return exitUsage
	case p.Errno == unix.ENOENT:
		return exitNotFound
	}
	return exitNotExecutable
}
