package inside

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// counting is a container that counts in memory and writes down how far it has come.
func counting(t *testing.T) *bundle {
	t.Helper()
	b := newBundle(t)
	b.sh("i=0; while true; do i=$((i+1)); echo $i >/data/new; /bin/busybox mv /data/new /data/count; sleep 0.05; done")
	volume := filepath.Join(b.dir, "volume")
	b.must(os.MkdirAll(volume, 0o755))
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/data", Source: volume, Type: "bind", Options: []string{"rbind", "rw"}})
	b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer(int64(50))}
	return b
}

func (b *bundle) count() int {
	out, _ := os.ReadFile(filepath.Join(b.dir, "volume", "count"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return n
}

// counts waits until the container has counted on from a number.
func (b *bundle) counts(from int) {
	b.t.Helper()
	b.until(fmt.Sprintf("count past %d", from), func() bool { return b.count() > from })
}

// criu is the runtime with CRIU; an error shows CRIU's log.
func (b *bundle) criu(log string, args ...string) {
	b.t.Helper()
	if out, err := b.try(append(args, b.id)...); err != nil {
		text, _ := os.ReadFile(filepath.Join(b.dir, log))
		lines := strings.Split(string(text), "\n")
		b.t.Fatalf("%v: %v\n%s\n%s", args, err, out, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// restored checks that a restored container is one like every other.
func (b *bundle) restored() {
	b.t.Helper()
	b.t.Cleanup(func() { _, _ = b.try("delete", "--force", b.id) })
	s := b.state()
	if s.Status != "running" || s.Pid <= 0 {
		b.t.Errorf("state after restore: %+v", s)
	}
	if out := b.runtime("list"); !strings.Contains(out, b.id) || !strings.Contains(out, "running") {
		b.t.Errorf("list: %s", out)
	}
	b.expect(fmt.Sprintf("/proc/%d/cgroup", s.Pid), "0::"+b.spec.Linux.CgroupsPath)
	b.expect(b.group("pids.max"), "50")
	if out := b.runtime("exec", b.id, "sh", "-c", "cat /proc/self/cgroup; cat /proc/1/comm; touch /data/exec; ls /proc/kcore | wc -l"); out != "0::/\nsh\n1" {
		b.t.Errorf("exec after restore: %q", out)
	}
}

// A counter that is saved, ends, and goes on counting.
func TestCheckpoint(t *testing.T) {
	b := counting(t)
	b.start()
	b.counts(3)
	b.criu("checkpoint/dump.log", "checkpoint", "--image-path", "checkpoint")
	if out, err := b.try("state", b.id); err == nil {
		t.Errorf("the container is left: %s", out)
	}
	before := b.count()
	b.must(os.WriteFile(filepath.Join(b.dir, "volume", "count"), nil, 0o644))
	pid := filepath.Join(b.dir, "pid")
	b.detachedCRIU("checkpoint/restore.log", "restore", "--detach", "--image-path", "checkpoint", "--pid-file", pid)
	b.counts(before - 1)
	b.restored()
	b.expect(pid, fmt.Sprint(b.state().Pid))
	b.runtime("pause", b.id)
	b.runtime("resume", b.id)
	b.runtime("kill", b.id, "KILL")
	b.until("the end", func() bool { return b.state().Status == "stopped" })
	b.runtime("delete", b.id)
	if _, err := os.Stat(b.group("")); err == nil {
		t.Error("the group is left")
	}
}

// detachedCRIU is detached with CRIU's log in the error.
func (b *bundle) detachedCRIU(log string, args ...string) {
	b.t.Helper()
	defer func() {
		if b.t.Failed() {
			text, _ := os.ReadFile(filepath.Join(b.dir, log))
			lines := strings.Split(string(text), "\n")
			b.t.Log(strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	}()
	b.detached(args...)
}

// Saved without being stopped, and restored as another container beside the first.
func TestCheckpointLeaveRunning(t *testing.T) {
	b := counting(t)
	b.start()
	b.counts(3)
	b.criu("work/dump.log", "checkpoint", "--leave-running", "--image-path", "checkpoint", "--work-path", "work", "--file-locks", "--ext-unix-sk", "--tcp-established")
	b.counts(b.count())
	if s := b.state(); s.Status != "running" {
		t.Errorf("status %s", s.Status)
	}
	c := *b
	c.id, c.spec.Linux = b.id+"-copy", pointer(*b.spec.Linux)
	c.spec.Linux.CgroupsPath = "/conex-test/" + c.id
	c.write()
	c.detachedCRIU("work2/restore.log", "restore", "--detach", "--image-path", "checkpoint", "--work-path", "work2", "--tcp-established", "--ext-unix-sk", "--file-locks")
	c.restored()
	c.counts(c.count())
}

// Memory is saved twice while the container runs, the last time only what has changed since.
func TestPreDump(t *testing.T) {
	b := counting(t)
	b.start()
	b.counts(3)
	b.criu("one/dump.log", "checkpoint", "--pre-dump", "--image-path", "one")
	b.counts(b.count())
	b.criu("two/dump.log", "checkpoint", "--pre-dump", "--image-path", "two", "--parent-path", "../one")
	b.counts(b.count())
	b.criu("three/dump.log", "checkpoint", "--image-path", "three", "--parent-path", "../two")
	before := b.count()
	b.detachedCRIU("three/restore.log", "restore", "--detach", "--image-path", "three")
	b.counts(before)
	b.restored()
}
