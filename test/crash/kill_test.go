package crash

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// shims returns the process ids of the running containers' shims.
func shims(t *testing.T, e *rig.Engine) []int {
	t.Helper()
	var pids []int
	for _, id := range strings.Fields(e.Docker("ps", "-q").OK().Out) {
		pid := e.Docker("inspect", "-f", "{{.State.Pid}}", id).OK().Trim()
		parent, err := strconv.Atoi(rig.Exec(t, nil, nil, "ps", "-o", "ppid=", "-p", pid).OK().Trim())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, parent)
	}
	return pids
}

// runTen starts ten containers of every kind: with ports, on a network, with a volume, with an exec, with a terminal,
// one paused.
func runTen(t *testing.T, e *rig.Engine, busybox string) []string {
	t.Helper()
	e.Docker("network", "create", "net").OK()
	var names []string
	for i, flags := range [][]string{
		{}, {"-p", "80"}, {"--network", "net"}, {"-v", "vol:/v"}, {"-t"}, {"--network", "host"}, {"--network", "none"}, {"--init"}, {"--pid", "host"}, {"-m", "64m"},
	} {
		name := fmt.Sprint("ten", i)
		e.Docker(append(append([]string{"run", "-d", "--name", name}, flags...), busybox, "sleep", "1000")...).OK()
		names = append(names, name)
	}
	e.Docker("exec", "-d", "ten0", "sleep", "1000").OK()
	e.Docker("pause", "ten1").OK()
	return names
}

// The daemon and all shims are killed at once, as when memory runs out: all containers are told dead, can be started
// and removed, and nothing is left of them.
func TestKillEverything(t *testing.T) {
	e, busybox := withBusybox(t)
	names := runTen(t, e, busybox)
	victims := shims(t, e)
	if len(victims) != len(names) {
		t.Fatalf("%d shims of %d containers", len(victims), len(names))
	}
	// Stopped, the daemon sees nothing of what happens to the shims before it dies.
	if err := syscall.Kill(e.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, pid := range victims {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	e.Kill9()
	began := time.Now()
	e.Run()
	t.Logf("restart to the first answer: %v", time.Since(began))
	if out := e.Docker("ps", "-q").OK().Out; out != "" {
		t.Errorf("still running: %s", out)
	}
	for _, name := range names {
		if out := e.Docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name).OK().Trim(); out != "exited 137" {
			t.Errorf("%s: %s", name, out)
		}
	}
	e.AuditClean()
	e.Docker(append([]string{"start"}, names...)...).OK()
	for _, name := range names {
		e.Docker("exec", name, "true").OK()
	}
	e.Docker(append([]string{"rm", "-f"}, names...)...).OK()
	e.Docker("network", "rm", "net").OK()
	e.Docker("volume", "rm", "vol").OK()
	e.AuditClean()
}

// What a client was told of an exit is true after a crash that follows at once.
func TestExitIsKept(t *testing.T) {
	e, busybox := withBusybox(t)
	for i := range 10 {
		name := fmt.Sprint("kept", i)
		e.Docker("run", "-d", "--name", name, "--restart", "on-failure", busybox, "sh", "-c", "trap 'exit 0' TERM; while :; do usleep 10000; done").OK()
		a := newAPI(t, e)
		if status, got := a.call(http.MethodPost, "/containers/"+name+"/stop", nil); status != http.StatusNoContent {
			t.Fatalf("stop: %d: %s", status, got)
		}
		e.Kill9()
		e.Run()
		if out := e.Docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", name).OK().Trim(); out != "exited 0 0" {
			t.Errorf("%s: %s", name, out)
		}
	}
	e.AuditClean()
}

// An `--rm` container whose client was to start it when the daemon was killed is nobody's: it goes, with its volume.
func TestUnstartedIsRemoved(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("create", "--rm", "--name", "nobodys", "-v", "/anonymous", busybox, "true").OK()
	e.Docker("create", "--name", "somebodys", busybox, "true").OK()
	e.Kill9()
	e.Run()
	if out := e.Docker("ps", "-a", "--format", "{{.Names}}").OK().Trim(); out != "somebodys" {
		t.Errorf("containers: %s", out)
	}
	if out := e.Docker("volume", "ls", "-q").OK().Out; out != "" {
		t.Errorf("volumes: %s", out)
	}
}

// A durable database of garbage ends the start with an error that names the file; nothing of it is changed. (A volatile
// one is made anew: TestRunDatabaseDamaged of test/integration.)
func TestDamagedDatabase(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("create", "--name", "kept", busybox, "true").OK()
	e.Stop()
	path := e.DataRoot + "/conex.db"
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, bytes := range map[string][]byte{
		"all garbage":    []byte(strings.Repeat("garbage ", 4096)),
		"no page":        []byte("x"),
		"garbage inside": append(whole[:8192:8192], strings.Repeat("garbage!", (len(whole)-8192)/8)...),
		"cut off":        whole[:8192],
	} {
		if err := os.WriteFile(path, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		if code, log := startFails(e); code == 0 {
			t.Errorf("%s: conexd starts", what)
		} else if !strings.Contains(log, path) || strings.Contains(log, "goroutine ") || strings.Contains(log, "panic") {
			t.Errorf("%s: exit %d: the error is %s", what, code, log)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != string(bytes) {
			t.Errorf("%s: the file was changed (%v)", what, err)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	e.Run()
	e.Docker("inspect", "kept").OK()
}

// startFails runs the daemon until it ends by itself, at most for some seconds; 0 is that it did not.
func startFails(e *rig.Engine) (code int, log string) {
	e.T.Helper()
	r := e.Exec(nil, "timeout", "-s", "TERM", "5", rig.Bin("conexd"), "--data-root", e.DataRoot, "--exec-root", e.ExecRoot,
		"-H", "unix://"+e.Socket, "--pidfile", e.Dir+"/conexd.pid", "--config-file", e.Dir+"/daemon.json")
	if r.Code == 124 {
		return 0, r.Out + r.Err
	}
	return r.Code, r.Out + r.Err
}

// Somebody wipes the exec root of a stopped daemon while containers run: their sockets are gone, so nobody can talk to
// the shims any more. The next daemon ends them, tells the containers as exited, and nothing is left.
func TestExecRootGone(t *testing.T) {
	e, busybox := withBusybox(t)
	names := runTen(t, e, busybox)
	e.Docker("run", "-d", "--rm", "--name", "temporary", busybox, "sleep", "1000").OK()
	e.Stop()
	rig.Exec(t, nil, nil, "rm", "-rf", "--one-file-system", e.ExecRoot).OK()
	e.Run()
	for _, name := range names {
		if out := e.Docker("inspect", "-f", "{{.State.Status}}", name).OK().Trim(); out != "exited" {
			t.Errorf("%s: %s", name, out)
		}
	}
	e.Docker("inspect", "temporary").Exits(1)
	e.AuditClean()
	e.Docker(append([]string{"start"}, names...)...).OK()
	e.AuditClean()
}

// A data root that cannot be written ends the start with an error that names it.
func TestReadOnlyDataRoot(t *testing.T) {
	e, busybox := withBusybox(t)
	e.Docker("run", "-d", "--name", "going", busybox, "sleep", "1000").OK()
	e.Stop()
	for _, argv := range [][]string{{"mount", "--bind", e.DataRoot, e.DataRoot}, {"mount", "-o", "remount,bind,ro", e.DataRoot}} {
		rig.Exec(t, nil, nil, argv...).OK()
	}
	code, log := startFails(e)
	rig.Exec(t, nil, nil, "umount", e.DataRoot).OK()
	if code == 0 || !strings.Contains(log, e.DataRoot) || !strings.Contains(log, "read-only file system") {
		t.Errorf("exit %d: %s", code, log)
	}
	t.Logf("%s", strings.TrimSpace(log))
	e.Run()
	e.Docker("exec", "going", "true").OK()
}
