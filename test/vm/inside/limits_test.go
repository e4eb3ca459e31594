package inside

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const mib = 1 << 20

func TestMachine(t *testing.T) {
	if _, err := os.Stat(groups + "/cgroup.controllers"); err != nil {
		t.Fatalf("this is no machine with cgroup v2 alone: %v", err)
	}
	if out, err := os.ReadFile("/sys/module/apparmor/parameters/enabled"); err != nil || out[0] != 'Y' {
		t.Fatalf("AppArmor: %q, %v", out, err)
	}
}

// The kernel kills what goes over its memory limit; the limits of all controllers are in the files of v2.
func TestMemoryLimit(t *testing.T) {
	b := newBundle(t)
	b.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: pointer(int64(16 * mib)), Swap: pointer(int64(16 * mib))}
	b.sh("tail /dev/zero")
	if out, code := b.run(); code != 137 {
		t.Errorf("exit code %d instead of 137 (SIGKILL): %s", code, out)
	}
	b.sh("sleep 1000")
	b.start()
	b.expect(b.group("memory.max"), fmt.Sprint(16*mib))
	if _, err := os.Stat(b.group("memory.swap.max")); err == nil {
		b.expect(b.group("memory.swap.max"), "0")
	}
}

func TestOtherLimits(t *testing.T) {
	b := newBundle(t)
	r := b.spec.Linux.Resources
	r.Pids = &specs.LinuxPids{Limit: pointer(int64(8))}
	r.CPU = &specs.LinuxCPU{Quota: pointer(int64(50000)), Period: pointer(uint64(100000)), Shares: pointer(uint64(512)), Cpus: "0"}
	r.Unified = map[string]string{"memory.high": fmt.Sprint(64 * mib)}
	b.sh("(for i in $(seq 20); do sleep 1000 & done) 2>/data/forks; sleep 1000")
	b.start()
	b.expect(b.group("pids.max"), "8")
	b.expect(b.group("cpu.max"), "50000 100000")
	b.expect(b.group("cpuset.cpus"), "0")
	b.expect(b.group("memory.high"), fmt.Sprint(64*mib))
	if w := b.read(b.group("cpu.weight")); w == "100" {
		t.Errorf("cpu.weight is the default")
	}
	b.until("fork fails", func() bool {
		out, err := os.ReadFile(b.path("data/forks"))
		return err == nil && strings.Contains(string(out), "fork")
	})
	b.runtime("update", "--pids-limit", "20", "--cpu-quota", "20000", "--memory", fmt.Sprint(32*mib), "--memory-swap", "-1", b.id)
	b.expect(b.group("pids.max"), "20")
	b.expect(b.group("cpu.max"), "20000 100000")
	b.expect(b.group("memory.max"), fmt.Sprint(32*mib))
	if out := b.runtime("events", "--stats", b.id); !strings.Contains(out, `"pids":{"current":`) || !strings.Contains(out, `"limit":33554432`) {
		t.Errorf("stats: %s", out)
	}
}

// The program of a container and that of an exec are in its group from their first instruction, and see it as "/".
func TestGroups(t *testing.T) {
	b := newBundle(t)
	b.sh("cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs; sleep 1000")
	b.start()
	b.until("output", func() bool { return strings.Count(b.read(b.out), "\n") == 1 })
	if got := b.read(b.out); got != "0::/\n/sys/fs/cgroup/cgroup.procs" {
		t.Errorf("the container sees %q", got)
	}
	b.expect(fmt.Sprintf("/proc/%d/cgroup", b.state().Pid), "0::"+b.spec.Linux.CgroupsPath)
	if got := b.runtime("exec", b.id, "cat", "/proc/self/cgroup"); got != "0::/" {
		t.Errorf("exec is in %q", got)
	}
	b.runtime("delete", "--force", b.id)
	if _, err := os.Stat(b.group("")); err == nil {
		t.Error("the group is left")
	}
}

// On v2 device rules are a program of the group (BPF_PROG_TYPE_CGROUP_DEVICE).
func TestDeviceFilter(t *testing.T) {
	b := newBundle(t)
	caps := b.spec.Process.Capabilities
	for _, list := range []*[]string{&caps.Bounding, &caps.Effective, &caps.Permitted} {
		*list = append(*list, "CAP_MKNOD")
	}
	const script = "mknod /tmp/loop c 10 237; (: </tmp/loop) 2>/dev/null && echo loop; (: </dev/null) && echo null; (: </dev/zero) && echo zero"
	b.spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Access: "m"}}
	b.sh(script)
	if out, _ := b.run(); out != "null\nzero" {
		t.Errorf("filtered: %q", out)
	}
	b.must(os.Remove(b.path("tmp/loop")))
	b.spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	if out, _ := b.run(); out != "loop\nnull\nzero" {
		t.Errorf("all allowed: %q", out)
	}
}

func TestFreezer(t *testing.T) {
	b := newBundle(t)
	b.sh("i=0; while true; do i=$((i+1)); echo $i >/data/count; done")
	b.start()
	count := func() string { out, _ := os.ReadFile(b.path("data/count")); return string(out) }
	b.until("counting", func() bool { return count() != "" })
	b.runtime("pause", b.id)
	if s := b.state(); s.Status != "paused" {
		t.Errorf("status %s", s.Status)
	}
	b.expect(b.group("cgroup.freeze"), "1")
	before := count()
	time.Sleep(200 * time.Millisecond)
	if now := count(); now != before {
		t.Errorf("a paused container counted from %q to %q", before, now)
	}
	if out, err := b.try("exec", b.id, "true"); err == nil || !strings.Contains(out, "paused") {
		t.Errorf("exec in a paused container: %s, %v", out, err)
	}
	b.runtime("resume", b.id)
	b.until("counting again", func() bool { now := count(); return now != before && now != "" })
	b.runtime("kill", b.id, "KILL")
	b.until("the end", func() bool { return b.state().Status == "stopped" })
	b.runtime("delete", b.id)
}

// A container that has no cgroup namespace of its own mounts the hierarchy without changing its options for the machine.
func TestHostKeepsItsMountOptions(t *testing.T) {
	options := func() string {
		out, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, " - cgroup2 ") {
				return line
			}
		}
		return ""
	}
	before := options()
	if !strings.Contains(before, "nsdelegate") {
		t.Fatalf("the machine has %q", before)
	}
	b := newBundle(t)
	var kept []specs.LinuxNamespace
	for _, ns := range b.spec.Linux.Namespaces {
		if ns.Type != specs.CgroupNamespace {
			kept = append(kept, ns)
		}
	}
	b.spec.Linux.Namespaces = kept
	b.sh("cat /proc/self/cgroup; ls /sys/fs/cgroup/conex-test")
	if out, code := b.run(); code != 0 || !strings.HasPrefix(out, "0::/conex-test/") {
		t.Errorf("%q, %d", out, code)
	}
	if now := options(); now != before {
		t.Errorf("the machine's mount was %q and is %q", before, now)
	}
}

// An init that shares its part of the hierarchy out has moved down first: an exec follows it, and does not stand in its way.
func TestExecFollowsInit(t *testing.T) {
	b := newBundle(t)
	for i, m := range b.spec.Mounts {
		if m.Type == "cgroup" {
			b.spec.Mounts[i].Options = []string{"nosuid", "noexec", "nodev"}
		}
	}
	b.spec.Process.Args = []string{"/bin/sh", "-c", "/bin/busybox mkdir /sys/fs/cgroup/lower && echo 1 >/sys/fs/cgroup/lower/cgroup.procs; sleep 1000"}
	b.start()
	b.until("init is down", func() bool {
		out, err := os.ReadFile(b.group("lower/cgroup.procs"))
		return err == nil && len(out) > 0
	})
	if got := b.runtime("exec", b.id, "sh", "-c", "cat /proc/self/cgroup; echo +pids >/sys/fs/cgroup/cgroup.subtree_control && cat /sys/fs/cgroup/lower/pids.current"); got != "0::/lower\n2" {
		t.Errorf("exec: %q", got)
	}
	if got := b.runtime("exec", b.id, "cat", "/proc/self/cgroup"); got != "0::/lower" {
		t.Errorf("exec: %q", got)
	}
}
