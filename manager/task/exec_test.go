package task_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/task"
)

func TestExec(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		h.run(h.request("a", spec("/bin/sleep", "1000")))
		process := func(args ...string) *specs.Process {
			p := spec(args...).Process
			return p
		}
		c, stream := newStream(t, bothStreams)
		pid, err := h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e1", Process: process("/bin/sh", "-c", "echo in; hostname; exit 9"), Stream: &stream})
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := c.rest(); out != "in\nbox\n" {
			t.Errorf("got %q", out)
		}
		if e := h.exit("a", "e1"); e.Code != 9 || e.Pid != pid {
			t.Errorf("exit %+v", e)
		}
		if err := h.svc.DeleteExec(ctx, nsName, "a", "e1"); err != nil {
			t.Error(err)
		}
		_, err = h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e2", Process: process("/bin/none")})
		if !errors.Is(err, syscall.ENOENT) {
			t.Errorf("missing program: %v", err)
		}
		if _, err := h.svc.Status(ctx, nsName, "a", "e2"); !errdefs.IsNotFound(err) {
			t.Errorf("failed exec is still there: %v", err)
		}

		terminal := process("/bin/sh", "-c", "stty size; read x; echo got $x")
		terminal.Terminal, terminal.ConsoleSize = true, &specs.Box{Width: 50, Height: 20}
		c, stream = newStream(t, shim.Header{Stdin: true, Stdout: true})
		if _, err := h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e3", Process: terminal, OpenStdin: true, Stream: &stream}); err != nil {
			t.Fatal(err)
		}
		c.until("20 50")
		_, _ = c.WriteString("word\n")
		c.until("got word")
		h.exit("a", "e3")

		if _, err := h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e4", Process: process("/bin/sleep", "1000")}); err != nil {
			t.Fatal(err)
		}
		if err := h.svc.Kill(ctx, nsName, "a", "e4", syscall.SIGKILL, false); err != nil {
			t.Fatal(err)
		}
		if e := h.exit("a", "e4"); e.Code != 137 {
			t.Errorf("exit %+v", e)
		}
		h.delete("a") // also while it runs
		if e := h.exit("a", ""); e.Code != 137 {
			t.Errorf("exit %+v", e)
		}
	})
}

func TestBackgroundChildDoesNotHoldAnExec(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		h.run(h.request("a", spec("/bin/sleep", "1000")))
		c, stream := newStream(t, bothStreams)
		p := spec("/bin/sh", "-c", "sleep 500 & echo started; exit 3").Process
		begin := time.Now()
		if _, err := h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e", Process: p, Stream: &stream}); err != nil {
			t.Fatal(err)
		}
		if e := h.exit("a", "e"); e.Code != 3 {
			t.Errorf("exit %+v", e)
		}
		if d := time.Since(begin); d > 15*time.Second {
			t.Errorf("the exit took %v", d)
		}
		if out, _ := c.rest(); out != "started\n" {
			t.Errorf("got %q", out)
		}
		h.delete("a")
	})
}
