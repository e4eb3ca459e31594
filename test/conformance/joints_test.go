// Package conformance puts our parts under the field's managers: conex-runtime in the place of runc.
package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// rootfs lays out busybox in a directory.
func rootfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	tar := dir + "/busybox.tar"
	if err := os.WriteFile(tar, rig.Busybox(t).Layer(t), 0o644); err != nil {
		t.Fatal(err)
	}
	root := dir + "/rootfs"
	rig.Exec(t, nil, nil, "mkdir", root).OK()
	rig.Exec(t, nil, nil, "tar", "-C", root, "-xf", tar).OK()
	return root
}

// podman with its own network, storage and conmon, on our runtime.
func TestUnderPodman(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil {
		t.Fatalf("%v: run test/setup", err)
	}
	root, dir := rootfs(t), t.TempDir()
	podman := func(args ...string) *rig.Result {
		t.Helper()
		base := []string{"podman", "--root", dir + "/root", "--runroot", dir + "/run", "--runtime", rig.Bin("conex-runtime"), "--cgroup-manager", "cgroupfs", "--events-backend", "file"}
		return rig.Exec(t, nil, nil, append(base, args...)...)
	}
	limits := []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", "--network", "none"}
	run := func(args ...string) *rig.Result {
		t.Helper()
		return podman(append(append([]string{"run"}, limits...), args...)...)
	}
	run("--rm", "--rootfs", root, "echo", "under podman").OK().Says("under podman")
	run("--rm", "--rootfs", root, "sh", "-c", "exit 7").Exits(7)
	run("--rm", "--rootfs", root, "no-such-program").Exits(127)
	run("-d", "--name", "p", "--rootfs", root, "sleep", "1000").OK()
	podman("exec", "p", "echo", "exec under podman").OK().Says("exec under podman")
	podman("exec", "p", "sh", "-c", "exit 9").Exits(9)
	podman("pause", "p").OK()
	podman("unpause", "p").OK()
	podman("kill", "p").OK()
	podman("rm", "-f", "p").OK()
}

// The life cycle of the specification, by the command line that every manager uses.
func TestRuntimeCommandLine(t *testing.T) {
	dir, id := t.TempDir(), fmt.Sprintf("conformance-%d", os.Getpid())
	rig.Exec(t, nil, nil, "mv", rootfs(t), dir+"/rootfs").OK()
	runtime := func(args ...string) *rig.Result {
		t.Helper()
		return rig.Exec(t, nil, nil, append([]string{rig.Bin("conex-runtime"), "--root", dir + "/state"}, args...)...)
	}
	t.Cleanup(func() { runtime("delete", "--force", id) })
	runtime("spec", "--bundle", dir).OK()
	config, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	edit := func(from, to string) {
		t.Helper()
		config = replace(t, config, from, to)
		if err := os.WriteFile(dir+"/config.json", config, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edit(`"terminal": true`, `"terminal": false`)
	edit(`"sh"`, `"sleep", "1000"`)
	runtime("create", "--bundle", dir, id).OK()
	runtime("state", id).OK().Says(`"status": "created"`)
	runtime("create", "--bundle", dir, id).Exits(1)
	runtime("start", id).OK()
	runtime("state", id).OK().Says(`"status": "running"`)
	runtime("start", id).Exits(1)
	runtime("exec", id, "sh", "-c", "exit 5").Exits(5)
	runtime("pause", id).OK()
	runtime("state", id).OK().Says(`"status": "paused"`)
	runtime("resume", id).OK()
	runtime("list").OK().Says("running")
	runtime("delete", id).Exits(1)
	runtime("kill", id, "KILL").OK()
	rig.Eventually(t, bound, "it stops", func() bool { return contains(runtime("state", id).Out, `"status": "stopped"`) })
	runtime("delete", id).OK()
	runtime("state", id).Exits(1)
	edit(`"sleep",`, `"echo", "from the runtime",`)
	runtime("run", "--bundle", dir, id+"-again").OK().Says("from the runtime")
	runtime("features").OK().Says("ociVersionMax")
	runtime("list", "-q").OK()
}
