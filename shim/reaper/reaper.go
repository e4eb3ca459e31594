// Package reaper collects the exits of a shim's children: the processes of its containers, and orphans that become
// its children because it is their subreaper (prctl(2), PR_SET_CHILD_SUBREAPER).
//
// Exits find their process whoever is first. A process is made while the caller holds the reaper (Hold): until the
// release nobody but processes already known is waited for, so neither the exit of the new process, before Watch
// knows its pid, nor that of a helper that os/exec waits for, is taken away.
package reaper

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a child ended.
type Exit struct {
	Code int // 0-255; 128+n for signal n
	At   time.Time
}

// Reaper is the one that waits for children in a process.
type Reaper struct {
	log     *slog.Logger
	signals chan os.Signal

	mu    sync.Mutex
	holds int
	known map[int]func(Exit)
}

// New makes the process a subreaper and takes its signals: SIGCHLD to reap, and those that would end it, because a
// shim ends with its container and by nothing less than SIGKILL. Those are caught, not ignored: an ignored signal
// would stay ignored in the container's processes (execve(2)).
func New(log *slog.Logger) (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("reaper: subreaper: %w", err)
	}
	r := &Reaper{log: log, signals: make(chan os.Signal, 32), known: make(map[int]func(Exit))}
	signal.Notify(r.signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	return r, nil
}

// Run reaps until Close.
func (r *Reaper) Run() {
	for sig := range r.signals {
		if sig != syscall.SIGCHLD {
			r.log.Warn("signal ignored: the shim ends with its container", "signal", sig.String())
			continue
		}
		r.reap()
	}
}

// Close ends Run.
func (r *Reaper) Close() {
	signal.Stop(r.signals)
	close(r.signals)
}

// Hold keeps unknown children from being reaped until release is called. Holds may overlap.
func (r *Reaper) Hold() (release func()) {
	r.mu.Lock()
	r.holds++
	r.mu.Unlock()
	return sync.OnceFunc(func() {
		r.mu.Lock()
		r.holds--
		r.mu.Unlock()
		r.reap()
	})
}

// Watch calls f once, from its own goroutine, when the child pid has ended. The caller holds the reaper since before
// pid was made.
func (r *Reaper) Watch(pid int, f func(Exit)) {
	r.mu.Lock()
	r.known[pid] = f
	r.mu.Unlock()
}

// reap collects every child that has ended.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holds == 0 {
		for r.wait(-1) {
		}
		return
	}
	for pid := range r.known {
		r.wait(pid)
	}
}

// wait reaps one child (-1: any) if one has ended. __WALL: also one whose exit signal is not SIGCHLD.
func (r *Reaper) wait(which int) bool {
	var status unix.WaitStatus
	pid, err := unix.Wait4(which, &status, unix.WNOHANG|unix.WALL, nil)
	for err == unix.EINTR {
		pid, err = unix.Wait4(which, &status, unix.WNOHANG|unix.WALL, nil)
	}
	if err != nil || pid <= 0 {
		return false
	}
	f, ok := r.known[pid]
	if !ok {
		return true // an orphan
	}
	delete(r.known, pid)
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	go f(Exit{Code: code, At: time.Now()})
	return true
}
