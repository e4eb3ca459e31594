package reaper

import (
	"io"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func newReaper(t *testing.T) *Reaper {
	t.Helper()
	r, err := New(slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { r.Run(); close(done) }()
	t.Cleanup(func() { r.Close(); <-done })
	return r
}

// spawn starts a shell as a runtime would start a container's process: nobody but the reaper waits for it.
func spawn(t *testing.T, script string) int {
	t.Helper()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func await(t *testing.T, exits <-chan Exit) Exit {
	t.Helper()
	select {
	case e := <-exits:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no exit")
		return Exit{}
	}
}

func TestExitBeforeWatchIsNotLost(t *testing.T) {
	r := newReaper(t)
	release := r.Hold()
	pid := spawn(t, "exit 7")
	time.Sleep(100 * time.Millisecond) // it has ended, and its SIGCHLD has come
	exits := make(chan Exit, 1)
	r.Watch(pid, func(e Exit) { exits <- e })
	release()
	if e := await(t, exits); e.Code != 7 {
		t.Errorf("exit %+v", e)
	}
}

func TestSignalCode(t *testing.T) {
	r := newReaper(t)
	release := r.Hold()
	exits := make(chan Exit, 1)
	pid := spawn(t, "kill -TERM $$")
	r.Watch(pid, func(e Exit) { exits <- e })
	release()
	if e := await(t, exits); e.Code != 143 {
		t.Errorf("exit %+v", e)
	}
}

// TestKnownAreReapedWhileHeld: a hook that runs for long does not delay the exits of other processes, and its own
// exit is left to os/exec.
func TestKnownAreReapedWhileHeld(t *testing.T) {
	r := newReaper(t)
	release := r.Hold()
	exits := make(chan Exit, 1)
	pid := spawn(t, "sleep 0.2; exit 3")
	r.Watch(pid, func(e Exit) { exits <- e })
	release()

	defer r.Hold()()
	hook := exec.Command("/bin/sh", "-c", "sleep 0.5; exit 4")
	if err := hook.Start(); err != nil {
		t.Fatal(err)
	}
	if e := await(t, exits); e.Code != 3 {
		t.Errorf("exit %+v", e)
	}
	if err := hook.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("hook: %v", err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	r := newReaper(t)
	release := r.Hold()
	exits := make(chan Exit, 1)
	pid := spawn(t, "(sleep 0.3 &) ; exit 0")
	r.Watch(pid, func(e Exit) { exits <- e })
	release()
	await(t, exits)
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err == syscall.ECHILD {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("an orphan stays")
}

func TestManyExits(t *testing.T) {
	r := newReaper(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Add(1)
		release := r.Hold()
		pid := spawn(t, "exit 5")
		r.Watch(pid, func(e Exit) {
			if e.Code != 5 {
				t.Errorf("%d: %+v", i, e)
			}
			wg.Done()
		})
		release()
	}
	wg.Wait()
}
