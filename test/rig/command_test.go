package rig

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// watched is a test that is told of failures instead of failing.
type watched struct {
	testing.TB
	said string
}

func (w *watched) Helper()                           {}
func (w *watched) Errorf(format string, args ...any) { w.said += fmt.Sprintf(format, args...) }

// A command that hangs is ended with a picture of what it and its children wait for, and the test goes on.
func TestHangIsPictured(t *testing.T) {
	w, told, begin := &watched{TB: t}, false, time.Now()
	r := execute(w, 300*time.Millisecond, func() { told = true }, nil, nil, []string{"sh", "-c", "echo before; sleep 1000; true"})
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
	if r.Code != hung || !told || r.Out != "before\n" {
		t.Errorf("%+v, told %v", r, told)
	}
	for _, want := range []string{"hangs: not over after 300ms", "before", "(sh)", "(sleep)"} {
		if !strings.Contains(w.said, want) {
			t.Errorf("no %q in\n%s", want, w.said)
		}
	}
}

// Copies of an engine for subtests know of each other's daemon.
func TestCopiesShareTheDaemon(t *testing.T) {
	e := &Engine{T: t, daemon: &process{}}
	c := e.For(t)
	c.daemon.done = make(chan error)
	if e.daemon.done == nil {
		t.Error("a subtest's restart is lost")
	}
}
