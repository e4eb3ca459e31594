package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

const (
	boxImage   = "docker.io/library/box:1"
	boxRuntime = "io.containerd.conex.v2"
	boxSpace   = "conex-conformance" // the namespace of every container
)

// guest is a containerd of Debian on directories and sockets of its own, which finds our shim in its PATH.
type guest struct {
	*testing.T
	dir string
	cmd *exec.Cmd
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	for _, program := range []string{"containerd", "ctr"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: run test/setup", err)
		}
	}
	g := &guest{T: t, dir: t.TempDir()}
	config := fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = %[3]q
[ttrpc]
  address = %[4]q
[debug]
  level = "debug"
`, g.dir+"/root", g.dir+"/state", g.socket(), g.socket()+".ttrpc")
	if err := os.WriteFile(g.dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	t.Cleanup(g.checkLeft)
	archive := g.dir + "/box.tar"
	if err := os.WriteFile(archive, rig.Busybox(t).ArchiveBytes(t, boxImage), 0o600); err != nil {
		t.Fatal(err)
	}
	g.ctr("images", "import", archive).OK()
	return g
}

func (g *guest) socket() string { return g.dir + "/s" }

func (g *guest) start() {
	g.Helper()
	log, err := os.OpenFile(g.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	g.cmd = exec.Command("containerd", "-c", g.dir+"/config.toml")
	g.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(rig.Bin("conex-shim"))+":"+os.Getenv("PATH"))
	g.cmd.Stdout, g.cmd.Stderr = log, log
	if err := g.cmd.Start(); err != nil {
		g.Fatal(err)
	}
	rig.Eventually(g.T, 20*time.Second, "containerd answers", func() bool {
		return exec.Command("ctr", "-a", g.socket(), "version").Run() == nil
	})
}

// kill9 ends containerd as a crash does.
func (g *guest) kill9() {
	g.Helper()
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
}

func (g *guest) argv(args ...string) []string {
	return append([]string{"ctr", "-a", g.socket(), "-n", boxSpace}, args...)
}

func (g *guest) ctr(args ...string) *rig.Result {
	g.Helper()
	return rig.Exec(g.T, nil, nil, g.argv(args...)...)
}

// run is `ctr run` with flags, then a container's id and arguments.
func (g *guest) run(flags []string, stdin []byte, id string, args ...string) *rig.Result {
	g.Helper()
	argv := append(append([]string{"run", "--runtime", boxRuntime}, flags...), boxImage, id)
	return rig.Exec(g.T, nil, stdin, g.argv(append(argv, args...)...)...)
}

// remove kills and removes a container that runs, or has ended.
func (g *guest) remove(id string) {
	g.Helper()
	_ = g.ctr("tasks", "kill", "-s", "KILL", id)
	rig.Eventually(g.T, bound, id+" stops", func() bool { return !contains(g.ctr("tasks", "ls").Out, "RUNNING") })
	g.ctr("tasks", "rm", id)
	g.ctr("containers", "rm", id).OK()
}

// state is a task's column in the list, "" when there is none.
func (g *guest) state(id string) string {
	for line := range strings.Lines(g.ctr("tasks", "ls").OK().Out) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id {
			return f[2]
		}
	}
	return ""
}

// topics are the task events that containerd has seen, in their order.
func (g *guest) topics() []string {
	g.Helper()
	return regexp.MustCompile(`topic=/tasks/(\S+)`).FindAllString(g.log(), -1)
}

func (g *guest) log() string {
	g.Helper()
	data, err := os.ReadFile(g.dir + "/log")
	if err != nil {
		g.Fatal(err)
	}
	return string(data)
}

// shims are the pids of the shims of this containerd, ours and its own.
func (g *guest) shims() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		data, _ := os.ReadFile(f)
		if strings.Contains(strings.SplitN(string(data), "\x00", 2)[0], "-shim") && strings.Contains(string(data), g.dir) {
			var pid int
			_, _ = fmt.Sscanf(f, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// checkLeft ends containerd, and looks for what it has left: shims, mounts, bundles, groups.
func (g *guest) checkLeft() {
	defer func() { _ = g.cmd.Process.Kill() }() // when a check gives up
	rig.Eventually(g.T, bound, "the shims end", func() bool { return len(g.shims()) == 0 })
	for _, pid := range g.shims() {
		g.Errorf("left: shim %d", pid)
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	rig.Eventually(g.T, bound, "the bundles are removed", func() bool {
		bundles, _ := filepath.Glob(g.dir + "/state/io.containerd.runtime.v2.task/" + boxSpace + "/*")
		return len(bundles) == 0
	})
	_ = g.cmd.Process.Signal(unix.SIGTERM)
	_ = g.cmd.Wait()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, g.dir) {
			g.Errorf("left: %s", line)
			_ = unix.Unmount(strings.Fields(line)[4], unix.MNT_DETACH)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + boxSpace)
	for _, group := range groups {
		if err := os.Remove(group); err != nil && !os.IsNotExist(err) {
			g.Errorf("left in %s: %v", group, err)
		}
	}
	if g.Failed() {
		g.Logf("containerd's log ends: %s", tail(g.log()))
	}
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

func TestShimUnderContainerd(t *testing.T) {
	g := newGuest(t)
	t.Run("run", func(t *testing.T) {
		g := g.in(t)
		g.run([]string{"--rm"}, nil, "r1", "echo", "under containerd").OK().Says("under containerd")
		g.run([]string{"--rm"}, nil, "r2", "sh", "-c", "exit 7").Exits(7)
		g.run([]string{"--rm"}, nil, "r3", "no-such-program").Exits(1).Says(`"no-such-program": executable file not found in $PATH`)
		g.run([]string{"--rm", "--cwd", "/tmp", "--env", "A=b"}, nil, "r4", "sh", "-c", "pwd; echo $A").OK().Says("/tmp\nb\n")
	})
	t.Run("stdin to stdout", func(t *testing.T) {
		g := g.in(t)
		big := make([]byte, 20<<20)
		for i := range big {
			big[i] = byte(i * i >> 5)
		}
		if got := g.run([]string{"--rm"}, big, "s1", "cat").OK().Out; got != string(big) {
			t.Errorf("%d bytes came back, not %d", len(got), len(big))
		}
	})
	t.Run("fast exits", func(t *testing.T) {
		g := g.in(t)
		for i := range 10 {
			if n := strings.Count(g.run([]string{"--rm"}, nil, fmt.Sprint("f", i), "seq", "3000").OK().Out, "\n"); n != 3000 {
				t.Errorf("%d lines", n)
			}
		}
	})
	t.Run("running", func(t *testing.T) { runningContainer(g.in(t)) })
	t.Run("terminal", func(t *testing.T) {
		g := g.in(t)
		command := strings.Join(g.argv("run", "--runtime", boxRuntime, "--rm", "-t", boxImage, "t1", "sh", "-c", `"tty; echo on a terminal"`), " ")
		rig.Exec(t, nil, nil, "script", "-qefc", command, "/dev/null").OK().Says("/dev/pts/0").Says("on a terminal")
	})
	t.Run("log file", func(t *testing.T) {
		g := g.in(t)
		g.run([]string{"-d", "--log-uri", "file://" + g.dir + "/output"}, nil, "l1", "sh", "-c", "echo to a file; echo err >&2").OK()
		rig.Eventually(t, bound, "it ends", func() bool { return g.state("l1") == "STOPPED" })
		if data, _ := os.ReadFile(g.dir + "/output"); string(data) != "to a file\nerr\n" && string(data) != "err\nto a file\n" {
			t.Errorf("the file has %q", data)
		}
		g.remove("l1")
	})
	t.Run("logger", func(t *testing.T) { loggerProgram(g.in(t)) })
	t.Run("events", func(t *testing.T) {
		g := g.in(t)
		before := len(g.topics())
		g.run([]string{"--rm"}, nil, "e1", "true").OK()
		want := "topic=/tasks/create topic=/tasks/start topic=/tasks/exit topic=/tasks/delete"
		if got := strings.Join(g.topics()[before:], " "); !strings.HasPrefix(got, want) {
			t.Errorf("events: %s", got)
		}
	})
	t.Run("want of memory", func(t *testing.T) {
		g := g.in(t)
		g.run([]string{"-d", "--memory-limit", "20971520"}, nil, "o1", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=60M count=1; sleep 1000").OK()
		rig.Eventually(t, bound, "it is told", func() bool { return contains(g.log(), "topic=/tasks/oom") })
		g.remove("o1")
	})
	t.Run("restart", func(t *testing.T) { restart(g.in(t)) })
	t.Run("shim killed", func(t *testing.T) {
		const seldom = "98765" // seconds: a process that only this test has
		g := g.in(t)
		g.run([]string{"-d"}, nil, "k1", "sleep", seldom).OK()
		for _, pid := range g.shims() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		rig.Eventually(t, bound, "containerd cleans up", func() bool { return g.state("k1") == "" })
		g.ctr("containers", "rm", "k1").OK()
		if out, _ := exec.Command("pgrep", "-f", "^sleep "+seldom+"$").Output(); len(out) > 0 {
			t.Errorf("the container's process is left: %s", out)
		}
	})
}

// in is the guest as a subtest sees it.
func (g *guest) in(t *testing.T) *guest {
	copied := *g
	copied.T = t
	return &copied
}

func runningContainer(g *guest) {
	g.run([]string{"-d", "--memory-limit", "67108864"}, nil, "d1", "sh", "-c", "while :; do sleep 0.1; done").OK()
	g.ctr("tasks", "exec", "--exec-id", "x1", "d1", "echo", "exec under containerd").OK().Says("exec under containerd")
	g.ctr("tasks", "exec", "--exec-id", "x2", "d1", "sh", "-c", "exit 9").Exits(9)
	rig.Exec(g.T, nil, []byte("in and out"), g.argv("tasks", "exec", "--exec-id", "x3", "d1", "cat")...).OK().Says("in and out")
	g.ctr("tasks", "exec", "--exec-id", "x4", "--detach", "d1", "sleep", "1000").OK()
	g.ctr("tasks", "ps", "d1").OK().Says("x4")
	g.ctr("tasks", "pause", "d1").OK()
	if got := g.state("d1"); got != "PAUSED" {
		g.Errorf("state %s", got)
	}
	g.ctr("tasks", "resume", "d1").OK()
	var metrics struct {
		Memory struct {
			Usage struct{ Limit uint64 }
		}
		Pids struct{ Current uint64 }
	}
	out := g.ctr("tasks", "metrics", "--format", "json", "d1").OK().Out
	if err := json.Unmarshal([]byte(out), &metrics); err != nil || metrics.Memory.Usage.Limit != 64<<20 || metrics.Pids.Current == 0 {
		if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil { // containerd prints v2's in another form
			g.Errorf("metrics %s (%v)", out, err)
		}
	}
	g.remove("d1")
}

// restart kills containerd with one container running and one that ends meanwhile: it finds both as they are.
func restart(g *guest) {
	g.run([]string{"-d"}, nil, "g1", "sh", "-c", "sleep 1; exit 5").OK()
	g.run([]string{"-d"}, nil, "g2", "sleep", "1000").OK()
	g.kill9()
	before := strings.Count(g.log(), "topic=/tasks/exit")
	time.Sleep(1500 * time.Millisecond)
	g.start()
	if got := g.state("g1"); got != "STOPPED" {
		g.Errorf("g1 is %s", got)
	}
	if got := g.state("g2"); got != "RUNNING" {
		g.Errorf("g2 is %s", got)
	}
	rig.Eventually(g.T, bound, "the exit is told", func() bool { return strings.Count(g.log(), "topic=/tasks/exit") == before+1 })
	g.ctr("tasks", "exec", "--exec-id", "again", "g2", "echo", "after the restart").OK().Says("after the restart")
	g.ctr("tasks", "rm", "g1").OK().Says("exit code 5")
	g.ctr("containers", "rm", "g1").OK()
	g.remove("g2")
}

// loggerProgram gives the output to a program, as nerdctl does.
func loggerProgram(g *guest) {
	script := g.dir + "/logger"
	text := "#!/bin/sh\nexec 5>&-\n{ echo \"$CONTAINER_NAMESPACE $CONTAINER_ID $*\"; cat <&3; } >" + g.dir + "/logged\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		g.Fatal(err)
	}
	g.run([]string{"-d", "--log-uri", "binary://" + script + "?key=value"}, nil, "p1", "seq", "1000").OK()
	rig.Eventually(g.T, bound, "it ends", func() bool { return g.state("p1") == "STOPPED" })
	g.remove("p1")
	rig.Eventually(g.T, bound, "all is logged", func() bool {
		data, _ := os.ReadFile(g.dir + "/logged")
		return strings.HasPrefix(string(data), boxSpace+" p1 key value\n1\n2\n") && strings.HasSuffix(string(data), "\n999\n1000\n")
	})
}
