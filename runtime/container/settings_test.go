package container

import (
	"bytes"
	"debug/elf"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/lsm"
	"github.com/conex-containers/conex/linux/resctrl"
)

func TestUserSysctl(t *testing.T) {
	f := newFixture(t)
	f.mapped()
	before, err := os.ReadFile("/proc/sys/user/max_pid_namespaces")
	f.must(err)
	f.spec.Linux.Sysctl = map[string]string{"user.max_pid_namespaces": "7", "user/max_net_namespaces": "8", "kernel.msgmax": "4321"}
	f.expect("cat /proc/sys/user/max_pid_namespaces /proc/sys/user/max_net_namespaces /proc/sys/kernel/msgmax", "7\n8\n4321")
	after, err := os.ReadFile("/proc/sys/user/max_pid_namespaces")
	if err != nil || string(after) != string(before) {
		t.Errorf("the host's limit was %s and is %s, %v", before, after, err)
	}
	f.spec.Linux.Sysctl = map[string]string{"user.nosuch": "7"}
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "set sysctl user/nosuch: no such file or directory") {
		t.Errorf("an unknown sysctl: %v", err)
	}
}

// ip runs ip(8) in this process's network namespace.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %q: %v: %s", args, err, out)
	}
	return string(out)
}

// Interfaces of the host with all that they have, under a new name and their own; a clash and a failing create leave them
// where they were.
func TestNetDevices(t *testing.T) {
	const one, two = "conextest0", "conextest1"
	ip(t, "link", "add", one, "mtu", "1400", "address", "00:11:22:33:44:55", "type", "veth", "peer", "name", two)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", one).Run() })
	ip(t, "addr", "add", "192.0.2.9/24", "dev", one)
	ip(t, "addr", "add", "2001:db8::9/64", "dev", one, "nodad")
	ip(t, "addr", "add", "169.254.3.3/16", "scope", "link", "dev", one)
	ip(t, "link", "set", one, "up")
	f := newFixture(t)
	f.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{one: {Name: "eth7"}, two: {}}
	f.spec.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/false"}}}
	if _, err := f.create(); err == nil {
		t.Fatal("the hook did not stop the create")
	}
	state := ip(t, "addr", "show", one)
	for _, want := range []string{"192.0.2.9/24", "2001:db8::9/64", "00:11:22:33:44:55", "mtu 1400", ",UP"} {
		if !strings.Contains(state, want) {
			t.Errorf("after a create that failed there is no %q in\n%s", want, state)
		}
	}
	f.spec.Hooks = nil
	f.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{one: {Name: "lo"}}
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), one) || !strings.Contains(err.Error(), "file exists") {
		t.Errorf("a name that is taken: %v", err)
	}
	ip(t, "addr", "show", one)
	f.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"nosuch0": {}}
	if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("a device that is not there: %v", err)
	}
	f.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{one: {Name: "eth7"}, two: {}}
	f.expect("cat /sys/class/net/eth7/mtu /sys/class/net/eth7/address; ip addr show dev eth7 | grep -o -e '192.0.2.9/24' -e '2001:db8::9/64' -e '169.254.3.3' -e ',UP'; ls /sys/class/net | tr '\\n' ' '",
		"1400\n00:11:22:33:44:55\n,UP\n192.0.2.9/24\n2001:db8::9/64\n"+two+" eth7 lo")
}

// A class of service: no machine of ours has one, so a directory stands for the file system.
func TestIntelRdt(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold", EnableMonitoring: true, L3CacheSchema: "L3:0=ff"}
	if _, err := resctrl.Find(); err != nil {
		if _, err := f.create(); errdefs.Of(err) != errdefs.ErrFailedPrecondition || !strings.Contains(err.Error(), "Intel RDT is not enabled") {
			t.Errorf("without resctrl: %v", err)
		}
	}
	fake := t.TempDir()
	f.must(os.MkdirAll(fake+"/gold/mon_groups", 0o755))
	f.must(os.MkdirAll(fake+"/info/L3", 0o755))
	f.sh("sleep 100")
	o := f.options(nil)
	o.Resctrl = fake
	c, err := Create(t.Context(), o)
	f.must(err)
	pid := c.Pid()
	tasks := func(path string) string {
		b, err := os.ReadFile(fake + path)
		f.must(err)
		return string(b)
	}
	if a, b := tasks("/gold/tasks"), tasks("/gold/mon_groups/c1/tasks"); a != b || a != strconv.Itoa(pid) {
		t.Errorf("tasks %s and %s, want %d", a, b, pid)
	}
	f.must(c.Start(t.Context()))
	l, err := Load(f.root, "c1")
	f.must(err)
	e, err := l.Exec(t.Context(), ExecOptions{ID: "e", Process: &specs.Process{Args: []string{"/bin/true"}, Cwd: "/"}})
	f.must(err)
	if got := tasks("/gold/tasks"); got != strconv.Itoa(e.Pid()) {
		t.Errorf("tasks %s after an exec of %d", got, e.Pid())
	}
	wait(t, e.Pid())
	f.must(l.UpdateIntelRdt(t.Context(), "L3:0=f", ""))
	if got := tasks("/gold/schemata"); got != "L3:0=f\n" {
		t.Errorf("schemata %q", got)
	}
	f.must(os.Remove(fake + "/gold/mon_groups/c1/tasks"))
	f.must(c.Delete(t.Context(), true))
	wait(t, pid)
	if _, err := os.Stat(fake + "/gold/mon_groups/c1"); err == nil {
		t.Error("the monitoring group is left")
	}
}

// What a capability list asks for and cannot have is warned of by name.
func TestCapabilityWarnings(t *testing.T) {
	var log bytes.Buffer
	ctx := logging.Into(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	all := []string{"CAP_KILL", "CAP_FLY", "CAP_SYS_RESOURCE"}
	s := sets(ctx, &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all, Inheritable: []string{"CAP_KILL", "CAP_SWIM"},
		Ambient: []string{"CAP_KILL", "CAP_CHOWN"}}, false)
	want := []string{"ignoring unknown or unavailable capabilities: [CAP_FLY CAP_SWIM]", "can't raise ambient capability CAP_CHOWN: "}
	if !capable(sysResource) {
		want = append(want, "ignoring capabilities that the runtime does not have: [CAP_SYS_RESOURCE]")
	}
	for _, w := range want {
		if !strings.Contains(log.String(), w) {
			t.Errorf("no %q in %s", w, &log)
		}
	}
	if s.Ambient != 1<<5 || s.Inheritable != 1<<5 || s.Effective&(1<<5) == 0 || capable(sysResource) != (s.Permitted&(1<<sysResource) != 0) {
		t.Errorf("sets %+v", s)
	}
}

// Where and when the process runs, as the kernel sees it.
func TestScheduling(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("NOT RUN: affinity needs two processors")
	}
	f := newFixture(t)
	f.spec.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7}
	f.spec.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE, Priority: 7}
	f.spec.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	f.spec.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolPreferred, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	// The first one is that of the host's side: the container's groups do not have that processor.
	f.spec.Linux.Resources.CPU = &specs.LinuxCPU{Cpus: "1"}
	f.spec.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
	f.sh("cut -d' ' -f19,41 /proc/self/stat; cat /proc/self/personality; head -1 /proc/self/numa_maps | cut -d' ' -f2; echo end; sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(t.Context()))
	r.until("end\n")
	if got, want := r.output(), "7 3\n00000008\nprefer=static:0\nend\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if class, err := ioClass(r.Pid()); err != nil || class != 3 {
		t.Errorf("I/O class %d, %v", class, err)
	}
	p := *r.Process()
	p.Args = []string{"grep", "Cpus_allowed_list", "/proc/self/status"}
	out, err := os.CreateTemp(t.TempDir(), "out-")
	f.must(err)
	defer func() { _ = out.Close() }()
	e, err := r.Exec(t.Context(), ExecOptions{ID: "e", Process: &p, Stdio: [3]*os.File{nil, out, out}})
	f.must(err)
	wait(t, e.Pid())
	if b, _ := os.ReadFile(out.Name()); strings.TrimSpace(string(b)) != "Cpus_allowed_list:\t1" {
		t.Errorf("an exec may use %q", b)
	}
}

func ioClass(pid int) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(pid), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n) >> 13, nil
}

func TestSchedulingErrors(t *testing.T) {
	armor := "AppArmor is not"
	if lsm.AppArmor() {
		armor = "security label exec acme"
	}
	for want, change := range map[string]func(*specs.Spec){
		"SCHED_X":               func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_X"} },
		"process.ioPriority":    func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "IOPRIO_CLASS_X"} },
		"personality":           func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "WINDOWS"} },
		"linux.memoryPolicy":    func(s *specs.Spec) { s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: "MPOL_X"} },
		armor:                   func(s *specs.Spec) { s.Process.ApparmorProfile = "acme" },
		"selinux label is spec": func(s *specs.Spec) { s.Process.SelinuxLabel = "system_u:system_r:container_t:s0" },
	} {
		f := newFixture(t)
		change(f.spec)
		if r, err := f.create(); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%s: %v", want, err)
			if err == nil {
				_ = r
			}
		}
	}
}

// TestPrintKeyring is what TestSessionKeyring runs inside.
func TestPrintKeyring(t *testing.T) {
	if os.Getenv("CONEX_TEST_KEYRING") == "" {
		return
	}
	id, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, id)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("session %d %s\n", id, text)
}

// The container has a session keyring of its own, which later processes join; the caller's stays outside.
func TestSessionKeyring(t *testing.T) {
	f := newFixture(t)
	self, err := os.ReadFile("/proc/self/exe")
	f.must(err)
	program, err := elf.NewFile(bytes.NewReader(self))
	f.must(err)
	if program.Section(".interp") != nil {
		t.Skip("NOT RUN: the test's program is not static: set CGO_ENABLED=0, as make does")
	}
	f.must(os.WriteFile(f.path("bin/self"), self, 0o755))
	const tell = "CONEX_TEST_KEYRING=1 self -test.run TestPrintKeyring | grep session"
	f.sh(tell + "; echo end; sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(t.Context()))
	r.until("end\n")
	own := strings.TrimSuffix(r.output(), "\nend\n")
	if !strings.HasSuffix(own, ";_ses.c1") || !strings.Contains(own, ";3f1b0000;") {
		t.Errorf("the container has %q", own)
	}
	if later := r.exec(tell); later != own {
		t.Errorf("a later process has %q, the first one %q", later, own)
	}
}
