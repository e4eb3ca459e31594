package conformance

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

// conex-runtime under Debian's dockerd, which has directories, sockets and a containerd of its own, and no network.
func TestRuntimeUnderDockerd(t *testing.T) {
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Fatalf("%v: run test/setup", err)
	}
	dir := t.TempDir()
	socket := "unix://" + dir + "/docker.sock"
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	// What dockerd mounts and leaves mounted is in a mount namespace of its own.
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "dockerd", "-H", socket, "--data-root", dir+"/data", "--exec-root", dir+"/exec",
		"--pidfile", dir+"/pid", "--bridge", "none", "--iptables=false", "--ip-forward=false", "--add-runtime", "conex="+rig.Bin("conex-runtime"),
		"--default-runtime", "conex", "--cgroup-parent", "/"+boxSpace, "--exec-opt", "native.cgroupdriver=cgroupfs", "--storage-driver", "vfs")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	docker := func(args ...string) *rig.Result {
		t.Helper()
		return rig.Exec(t, []string{"DOCKER_HOST=" + socket}, nil, append([]string{"docker"}, args...)...)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		rig.Reap(t, cmd, 30*time.Second)
		groups, _ := os.ReadDir("/sys/fs/cgroup")
		for _, group := range groups {
			_ = os.Remove("/sys/fs/cgroup/" + group.Name() + "/" + boxSpace)
		}
		if t.Failed() {
			data, _ := os.ReadFile(dir + "/log")
			t.Logf("dockerd's log ends: %s", tail(string(data)))
		}
	})
	rig.Eventually(t, 30*time.Second, "dockerd answers", func() bool {
		return exec.Command("docker", "-H", socket, "version").Run() == nil
	})
	rig.Exec(t, []string{"DOCKER_HOST=" + socket}, rig.Busybox(t).ArchiveBytes(t, "box:1"), "docker", "load").OK()
	limits := []string{"run", "--network", "none", "--ulimit", "nofile=1024:1024"}
	run := func(args ...string) *rig.Result {
		t.Helper()
		return docker(append(append([]string{}, limits...), args...)...)
	}
	run("--rm", "box:1", "echo", "under dockerd").OK().Says("under dockerd")
	run("--rm", "box:1", "sh", "-c", "exit 7").Exits(7)
	run("--rm", "box:1", "no-such-program").Exits(127)
	run("-d", "--name", "dd", "--memory", "64m", "box:1", "sleep", "1000").OK()
	docker("inspect", "-f", "{{.HostConfig.Runtime}} {{.State.Status}}", "dd").OK().Says("conex running")
	docker("exec", "dd", "echo", "exec under dockerd").OK().Says("exec under dockerd")
	docker("exec", "dd", "sh", "-c", "exit 9").Exits(9)
	docker("pause", "dd").OK()
	docker("unpause", "dd").OK()
	docker("update", "--memory", "80m", "--memory-swap", "80m", "dd").OK()
	group := boxSpace + "/" + docker("inspect", "-f", "{{.Id}}", "dd").OK().Trim()
	limit, err := os.ReadFile("/sys/fs/cgroup/memory/" + group + "/memory.limit_in_bytes")
	if err != nil {
		limit, err = os.ReadFile("/sys/fs/cgroup/" + group + "/memory.max")
	}
	if err != nil || strings.TrimSpace(string(limit)) != strconv.Itoa(80<<20) {
		t.Errorf("the limit is %s (%v)", limit, err)
	}
	docker("kill", "dd").OK()
	docker("rm", "-f", "dd").OK()
}
