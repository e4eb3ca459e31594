package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

// foreignRuntimes are the OCI runtimes of Debian that run under our shim.
var foreignRuntimes = []string{"runc", "crun"}

func foreignRuntime(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run test/setup", err)
	}
	if name == "crun" {
		mountHugetlb(t)
	}
	return path
}

// mountHugetlb mounts cgroup v1's hugetlb hierarchy while the test runs, if the machine has v1 without it: crun 1.8.1
// does not start a container otherwise.
func mountHugetlb(t *testing.T) {
	t.Helper()
	const dir = "/sys/fs/cgroup/hugetlb"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), " "+dir+" ") {
		return
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	if err := unix.Mount("cgroup", dir, "cgroup", 0, "hugetlb"); err != nil {
		t.Fatalf("mount %s: %v", dir, err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.Remove(dir)
	})
}

// runc and crun under conex-shim, chosen by Docker's runtime table, driven by the docker command line.
func TestForeignRuntimesUnderDocker(t *testing.T) {
	var flags []string
	for _, name := range foreignRuntimes {
		flags = append(flags, "--add-runtime", name+"="+foreignRuntime(t, name))
	}
	engine := rig.Start(t, flags...)
	load := rig.Busybox(t).ArchiveBytes(t, "box:1")
	engine.Exec(load, "docker", "load").OK()
	for _, name := range foreignRuntimes {
		t.Run(name, func(t *testing.T) {
			e := engine.For(t)
			run := func(args ...string) *rig.Result {
				t.Helper()
				return e.Docker(append([]string{"run", "--runtime", name, "--network", "none"}, args...)...)
			}
			run("--rm", "box:1", "echo", "under "+name).OK().Says("under " + name)
			run("--rm", "box:1", "sh", "-c", "exit 7").Exits(7)
			run("--rm", "box:1", "no-such-program").Exits(127)
			run("-d", "--name", "ff", "--memory", "64m", "box:1", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done").OK()
			e.Docker("inspect", "-f", "{{.HostConfig.Runtime}} {{.State.Status}}", "ff").OK().Says(name + " running")
			e.Docker("exec", "ff", "echo", "exec under "+name).OK().Says("exec under " + name)
			e.Docker("exec", "ff", "sh", "-c", "exit 9").Exits(9)
			e.Exec([]byte("in and out"), "docker", "exec", "-i", "ff", "cat").OK().Says("in and out")
			e.Docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "ff").OK().Says("64MiB")
			e.Docker("top", "ff").OK().Says("sleep")
			e.Docker("pause", "ff").OK()
			e.Docker("inspect", "-f", "{{.State.Status}}", "ff").OK().Says("paused")
			e.Docker("unpause", "ff").OK()
			e.Docker("update", "--memory", "80m", "--memory-swap", "80m", "ff").OK()
			e.Docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "ff").OK().Says("80MiB")
			e.Docker("stop", "ff").OK()
			e.Docker("inspect", "-f", "{{.State.ExitCode}}", "ff").OK().Says("3")
			e.Docker("start", "ff").OK()
			e.Docker("kill", "ff").OK()
			e.Docker("rm", "-f", "ff").OK()
		})
	}
}

// runc and crun under our shim under containerd, named in its options.
func TestForeignRuntimesUnderContainerd(t *testing.T) {
	g := newGuest(t)
	for _, name := range foreignRuntimes {
		t.Run(name, func(t *testing.T) {
			g := g.in(t)
			config := g.dir + "/" + name + ".toml"
			text := fmt.Sprintf("[options]\n  BinaryName = %q\n", foreignRuntime(t, name))
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			by := []string{"--runtime-config-path", config}
			g.run(append(by, "--rm"), nil, "r1", "echo", "under "+name).OK().Says("under " + name)
			g.run(append(by, "--rm"), nil, "r2", "sh", "-c", "exit 7").Exits(7)
			g.run(append(by, "-d"), nil, "r3", "sleep", "1000").OK()
			g.ctr("tasks", "exec", "--exec-id", "x", "r3", "echo", "exec under "+name).OK().Says("exec under " + name)
			g.ctr("tasks", "pause", "r3").OK()
			g.ctr("tasks", "resume", "r3").OK()
			g.ctr("tasks", "metrics", "r3").OK().Says("pids.current")
			g.remove("r3")
			g.run(append(by, "-d"), nil, "r4", "sleep", "1000").OK()
			for _, pid := range g.shims() {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			rig.Eventually(t, bound, "containerd cleans up", func() bool { return g.state("r4") == "" })
			g.ctr("containers", "rm", "r4").OK()
		})
	}
}

// conex-runtime under containerd's own shim.
func TestRuntimeUnderContainerd(t *testing.T) {
	g := newGuest(t)
	run := func(flags []string, id string, args ...string) *rig.Result {
		t.Helper()
		argv := append([]string{"run", "--runc-binary", rig.Bin("conex-runtime"), "--runc-root", g.dir + "/runtime"}, flags...)
		return g.ctr(append(append(argv, boxImage, id), args...)...)
	}
	run([]string{"--rm"}, "r1", "echo", "under containerd").OK().Says("under containerd")
	run([]string{"--rm"}, "r2", "sh", "-c", "exit 7").Exits(7)
	run([]string{"--rm"}, "r3", "no-such-program").Exits(1).Says("executable file not found in $PATH")
	run([]string{"-d"}, "r4", "sleep", "1000").OK()
	g.ctr("tasks", "exec", "--exec-id", "x", "r4", "echo", "exec under containerd").OK().Says("exec under containerd")
	g.ctr("tasks", "exec", "--exec-id", "y", "r4", "sh", "-c", "exit 9").Exits(9)
	g.ctr("tasks", "pause", "r4").OK()
	g.ctr("tasks", "resume", "r4").OK()
	g.ctr("tasks", "ps", "r4").OK() // no metrics: on these machines that shim finds none, not even runc's
	g.remove("r4")
}
