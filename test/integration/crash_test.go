package integration

import (
	"fmt"
	"os"
	"path/filepath"
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

// A shim that dies while the daemon is down takes its container along: the next daemon tells so, and does what the
// container's restart policy and --rm ask for.
func TestShimKilledWhileTheDaemonIsDown(t *testing.T) {
	e, busybox := withBusybox(t)
	var shims []string
	for _, c := range [][]string{{"--name", "plain", "-p", "8095:80"}, {"--name", "gone", "--rm"}, {"--name", "again", "--restart", "always"}} {
		e.Docker(append(append([]string{"run", "-d"}, c...), busybox, "sleep", "1000")...).OK()
		pid := e.Docker("inspect", "-f", "{{.State.Pid}}", c[1]).OK().Trim()
		shims = append(shims, rig.Exec(t, nil, nil, "ps", "-o", "ppid=", "-p", pid).OK().Trim())
	}
	e.Kill9()
	rig.Exec(t, nil, nil, append([]string{"kill", "-9"}, shims...)...).OK()
	e.Run()
	rig.Eventually(t, 10*time.Second, "the container is told dead", func() bool {
		return e.Docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "plain").Trim() == "exited 137"
	})
	rig.Eventually(t, 10*time.Second, "the --rm container is gone", func() bool { return e.Docker("inspect", "gone").Code != 0 })
	rig.Eventually(t, 10*time.Second, "the restarted one runs", func() bool {
		return e.Docker("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "again").Trim() == "running 1"
	})
	e.AuditClean()
	e.Docker("start", "plain").OK()
}

// What a pull had brought when the daemon was killed stays for the next try, for a day or until a prune.
func TestDaemonKilledDuringPull(t *testing.T) {
	e, ref := start(t)
	blobs := func() []string {
		list, err := filepath.Glob(e.DataRoot + "/content/blobs/sha256/*")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for range 20 {
		pulled := make(chan *rig.Result, 1)
		go func() { pulled <- e.Docker("pull", ref("nginx")+":1.25") }()
		rig.Eventually(t, 10*time.Second, "the first blob", func() bool { return len(blobs()) > 0 })
		e.Kill9()
		<-pulled
		e.Run()
		if e.Docker("rmi", ref("nginx")+":1.25").Code == 0 {
			continue // it was faster
		}
		if len(blobs()) == 0 {
			t.Error("what the killed pull had brought is gone")
		}
		e.AuditClean()
		e.Docker("image", "prune", "-f").OK()
		if left := blobs(); len(left) > 0 {
			t.Errorf("a prune leaves %v", left)
		}
		e.Docker("pull", "-q", ref("nginx")+":1.25").OK()
		return
	}
	t.Error("every pull was over before the daemon was killed")
}

// A damaged or lost run.db costs nobody's life: it is moved aside, and made anew out of what is noted of each run.
func TestRunDatabaseDamaged(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("network", "create", "second").OK()
	e.Docker("run", "-d", "--name", "kept", "-p", "127.0.0.1:8097:80", busybox, "sh", "-c", "mkdir /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w").OK()
	e.Docker("network", "connect", "second", "kept").OK()
	e.Docker("run", "-d", "--rm", "--name", "brief", "-v", "/anonymous", "--mount", "type=image,source="+busybox+",target=/im", busybox, "sleep", "1000").OK()
	e.Docker("exec", "brief", "sh", "-c", "echo written > /file; echo also > /anonymous/file").OK()
	e.Docker("run", "-d", "--name", "paused", busybox, "sleep", "1000").OK()
	e.Docker("pause", "paused").OK()
	look := func() string {
		return e.Docker("inspect", "-f", "{{.Name}} {{.State.Status}} {{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", "kept", "brief", "paused").OK().Out
	}
	before, path := look(), e.ExecRoot+"/run.db"
	for name, damage := range map[string]func() error{
		"garbage": func() error { return os.WriteFile(path, []byte(strings.Repeat("no database", 10000)), 0o600) },
		"cut":     func() error { return os.Truncate(path, 5000) },
		"empty":   func() error { return os.Truncate(path, 0) },
		"gone":    func() error { return os.Remove(path) },
	} {
		e.Kill9()
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		e.Run()
		if after := look(); after != before {
			t.Errorf("%s: before\n%safter\n%s", name, before, after)
		}
		e.Docker("exec", "brief", "cat", "/file", "/anonymous/file").OK().Says("written\nalso")
		if got := get(t, "http://127.0.0.1:8097/"); got != "served\n" {
			t.Errorf("%s: the page is %q", name, got)
		}
		e.AuditClean()
	}
	if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 2 {
		t.Errorf("set aside: %v", aside)
	}
	e.Docker("unpause", "paused").OK()
	e.Docker("stop", "-t", "0", "brief").OK()
	rig.Eventually(t, 10*time.Second, "the --rm container is gone", func() bool { return e.Docker("inspect", "brief").Code != 0 })
	e.Docker("restart", "-t", "0", "kept").OK()
	if got := get(t, "http://127.0.0.1:8097/"); got != "served\n" {
		t.Errorf("after the restart the page is %q", got)
	}
	e.Docker("rm", "-f", "kept", "paused").OK()
	if notes, _ := filepath.Glob(e.ExecRoot + "/runs/*"); len(notes) > 0 {
		t.Errorf("notes left: %v", notes)
	}
}
