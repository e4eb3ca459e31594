package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	boxArchive = "/box.tar" // package vm has put it there
	boxImage   = "docker.io/library/box:1"
)

// daemon is Debian's containerd with our shim, on a machine with cgroup v2 alone.
type daemon struct {
	*testing.T
	dir string
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{T: t, dir: t.TempDir()}
	config := fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = %[3]q
[ttrpc]
  address = %[4]q
[debug]
  level = "debug"
`, d.dir+"/root", d.dir+"/state", d.dir+"/s", d.dir+"/s.ttrpc")
	if err := os.WriteFile(d.dir+"/config.toml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(d.dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command("containerd", "-c", d.dir+"/config.toml")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("containerd's log ends: %s", d.log()[max(0, len(d.log())-6000):])
		}
	})
	d.until("containerd answers", func() bool { return strings.Contains(d.log(), "containerd successfully booted") })
	d.ctr("images", "import", boxArchive)
	return d
}

func (d *daemon) log() string {
	data, err := os.ReadFile(d.dir + "/log")
	if err != nil {
		d.Fatal(err)
	}
	return string(data)
}

func (d *daemon) until(what string, happened func() bool) {
	d.Helper()
	(&bundle{t: d.T}).until(what, happened)
}

func (d *daemon) ctr(args ...string) string {
	d.Helper()
	cmd := exec.Command("ctr", append([]string{"-a", d.dir + "/s"}, args...)...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		d.Fatalf("ctr %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// run is `ctr run` in the background.
func (d *daemon) run(flags []string, id string, args ...string) {
	d.Helper()
	argv := append([]string{"run", "--detach", "--null-io", "--runtime", "io.containerd.conex.v2"}, flags...)
	d.ctr(append(append(argv, boxImage, id), args...)...)
}

func (d *daemon) status(id string) string {
	for line := range strings.Lines(d.ctr("tasks", "ls")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id {
			return f[2]
		}
	}
	return ""
}

// Our shim under containerd, with what only this machine can show.
func TestShim(t *testing.T) {
	d := newDaemon(t)
	t.Run("metrics and want of memory", func(t *testing.T) { metricsAndMemory(d.in(t)) })
	t.Run("checkpoint", func(t *testing.T) { checkpointed(d.in(t)) })
}

// in is the daemon as a subtest sees it.
func (d *daemon) in(t *testing.T) *daemon { return &daemon{T: t, dir: d.dir} }

// metricsAndMemory looks for containerd's metrics of v2, and for want of memory as an event.
func metricsAndMemory(d *daemon) {
	d.run([]string{"--memory-limit", fmt.Sprint(32 * mib)}, "m1", "sh", "-c",
		"while [ ! -e /tmp/go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=60M count=1; sleep 1000")
	var metrics struct {
		Pids struct{ Current uint64 }
		CPU  struct {
			Usage uint64 `json:"usage_usec"`
		}
		Memory struct {
			Usage uint64
			Limit uint64 `json:"usage_limit"`
		}
		Events struct {
			Kills uint64 `json:"oom_kill"`
		} `json:"memory_events"`
	}
	measure := func() {
		out := d.ctr("tasks", "metrics", "--format", "json", "m1")
		if err := json.Unmarshal([]byte(out), &metrics); err != nil {
			d.Errorf("metrics: %v: %s", err, out)
		}
	}
	measure()
	if metrics.Memory.Limit != 32*mib || metrics.Memory.Usage == 0 || metrics.Pids.Current == 0 || metrics.CPU.Usage == 0 || metrics.Events.Kills != 0 {
		d.Errorf("metrics: %+v", metrics)
	}
	if strings.Contains(d.log(), "topic=/tasks/oom") {
		d.Error("want of memory is told too early")
	}
	d.ctr("tasks", "exec", "--exec-id", "x", "m1", "touch", "/tmp/go")
	d.until("want of memory is told", func() bool { return strings.Contains(d.log(), "topic=/tasks/oom") })
	if measure(); metrics.Events.Kills != 1 {
		d.Errorf("metrics afterwards: %+v", metrics)
	}
	d.remove("m1")
}

// checkpointed sends a checkpoint through containerd's task service into its content store; a container of it goes on
// counting, and does not begin anew.
func checkpointed(d *daemon) {
	volume := filepath.Join(d.dir, "volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		d.Fatal(err)
	}
	counts := func() (n int) {
		out, _ := os.ReadFile(volume + "/count")
		_, _ = fmt.Sscan(string(out), &n)
		return n
	}
	d.run([]string{"--memory-limit", fmt.Sprint(32 * mib), "--mount", "type=bind,src=" + volume + ",dst=/data,options=rbind:rw"}, "c1", "sh", "-c",
		"echo begins >>/data/begins; i=0; while true; do i=$((i+1)); echo $i >/data/new; mv /data/new /data/count; sleep 0.05; done")
	d.until("it counts", func() bool { return counts() > 3 })
	d.ctr("containers", "checkpoint", "--rw", "--task", "c1", "docker.io/library/checkpoint:1")
	d.remove("c1")
	if err := os.Remove(volume + "/count"); err != nil {
		d.Fatal(err)
	}
	d.ctr("containers", "restore", "--rw", "--live", "c2", "docker.io/library/checkpoint:1")
	d.until("it counts on", func() bool { return counts() > 3 })
	if data, err := os.ReadFile(volume + "/begins"); err != nil || string(data) != "begins\n" {
		d.Errorf("it has begun: %q, %v", data, err)
	}
	if got := d.status("c2"); got != "RUNNING" {
		d.Errorf("c2 is %q", got)
	}
	d.ctr("tasks", "exec", "--exec-id", "x", "c2", "touch", "/data/exec")
	if _, err := os.Stat(volume + "/exec"); err != nil {
		d.Error(err)
	}
	before := strings.Count(d.log(), "topic=/tasks/oom")
	d.ctr("tasks", "exec", "--exec-id", "y", "c2", "sh", "-c", "dd if=/dev/zero of=/dev/null bs=60M count=1; true")
	d.until("want of memory is told", func() bool { return strings.Count(d.log(), "topic=/tasks/oom") > before })
	d.remove("c2")
}

// remove kills and removes a container.
func (d *daemon) remove(id string) {
	d.ctr("tasks", "kill", "-s", "KILL", id)
	d.until(id+" stops", func() bool { return d.status(id) == "STOPPED" })
	d.ctr("tasks", "rm", id)
	d.ctr("containers", "rm", id)
}
