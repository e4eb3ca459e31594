package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// kill -9 of the daemon while 20 containers write: nobody notices.
func TestDaemonKilled(t *testing.T) {
	e, busybox := withBusybox(t)
	const n = 20
	for i := range n {
		e.Docker("run", "-d", "--name", fmt.Sprint("w", i), busybox, "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); usleep 2000; done").OK()
	}
	e.Docker("run", "-d", "--name", "seven", busybox, "sh", "-c", "sleep 1; exit 7").OK()
	e.Docker("run", "-d", "--rm", "--name", "gone", busybox, "sh", "-c", "sleep 1").OK()
	pids := func() string {
		return e.Docker("inspect", "-f", "{{.Name}} {{.State.Pid}}", "w0", "w7", "w19").OK().Out
	}
	before := pids()
	e.Kill9()
	time.Sleep(1500 * time.Millisecond)
	e.Run()
	if after := pids(); after != before {
		t.Errorf("pids before %s and after %s", before, after)
	}
	if out := e.Docker("ps", "-q").OK().Out; strings.Count(out, "\n") != n {
		t.Errorf("%d of %d run", strings.Count(out, "\n"), n)
	}
	if out := e.Docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "seven").OK().Trim(); out != "exited 7" {
		t.Errorf("seven: %s", out)
	}
	if out := e.Docker("ps", "-aq", "--filter", "name=gone").OK().Out; out != "" {
		t.Errorf("the --rm container that ended meanwhile is still there")
	}
	e.Docker("exec", "w3", "echo", "alive").OK().Says("alive")
	e.Docker("stop", "-t", "0", "w3").OK()
	for i := range n {
		name := fmt.Sprint("w", i)
		e.Docker("kill", name)
		e.Docker("wait", name).OK()
		next := 0
		for line := range strings.Lines(e.Docker("logs", name).OK().Out) {
			var got int
			if _, err := fmt.Sscan(line, &got); err != nil || got != next {
				t.Fatalf("%s: line %d is %q", name, next, line)
			}
			next++
		}
		if next < 100 {
			t.Errorf("%s wrote only %d lines", name, next)
		}
	}
}

// An attached client does not notice either: its connection is the shim's.
func TestAttachedClientSurvivesTheDaemon(t *testing.T) {
	e, busybox := withBusybox(t)
	done := make(chan *rig.Result, 1)
	go func() {
		done <- e.Docker("run", "--name", "att", busybox, "sh", "-c", "echo before; sleep 1.5; echo after")
	}()
	rig.Eventually(t, 5*time.Second, "it runs", func() bool {
		return e.Docker("inspect", "-f", "{{.State.Running}}", "att").Trim() == "true"
	})
	e.Kill9()
	r := <-done // the wait connection is gone, so the exit status is not told; the output is whole
	if !strings.Contains(r.Out, "before\nafter\n") {
		t.Errorf("output %q", r.Out)
	}
	e.Run()
	e.Docker("logs", "att").OK().Says("before\nafter")
}

func TestShimKilled(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "shimmed", busybox, "sleep", "1000").OK()
	pid := e.Docker("inspect", "-f", "{{.State.Pid}}", "shimmed").OK().Trim()
	shim := rig.Exec(t, nil, nil, "ps", "-o", "ppid=", "-p", pid).OK().Trim()
	rig.Exec(t, nil, nil, "kill", "-9", shim).OK()
	rig.Eventually(t, 10*time.Second, "the container is told dead", func() bool {
		return e.Docker("inspect", "-f", "{{.State.Running}} {{.State.ExitCode}}", "shimmed").Trim() == "false 137"
	})
	rig.Eventually(t, 5*time.Second, "its process is gone", func() bool { return rig.Exec(t, nil, nil, "kill", "-0", pid).Code != 0 })
	e.Docker("start", "shimmed").OK()
	e.Docker("rm", "-f", "shimmed").OK()
}
