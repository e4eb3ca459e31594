package security

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/test/rig"
)

// What confines the program has to be there at its first instruction, and must not have been undone on the way: the
// filter when no_new_privs is off too, the bounding set before the ids change. A startContainer hook is a program of the
// image, which the configuration only names: it has no more rights than the program.
//
// The guard is the order of runtime/child steps.go Build, which runtime/child/program_test.go holds in its text.
func TestConfinementIsCompleteAtTheFirstInstruction(t *testing.T) {
	for name, nnp := range map[string]bool{"with no_new_privs": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			b := newBundle(t)
			hook := "#!/bin/sh\ngrep -E 'Uid:|Seccomp:|CapEff' /proc/self/status > /vol/hook\n"
			b.must(os.Chmod(b.path("vol"), 0o777))
			b.must(os.WriteFile(b.path("bin/hook"), []byte(hook), 0o755))
			b.spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/hook"}}}
			b.spec.Process.NoNewPrivileges = nnp
			b.spec.Process.User.UID = 1000
			b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "setuid", "setgid", "setgroups", "setresuid", "setresgid", "chdir", "close_range", "openat2", "mount"}, Action: specs.ActErrno}}}
			b.sh("cat /proc/self/status; mkdir /vol/made")
			r := b.run()
			for _, want := range []string{"Seccomp:\t2\n", "Seccomp_filters:\t1\n", "Uid:\t1000\t1000\t1000\t1000\n", "CapInh:\t0000000000000000\n"} {
				if !strings.Contains(r.Out, want) {
					t.Errorf("no %q in %s%s", want, r.Out, r.Err)
				}
			}
			if got := strings.Contains(r.Out, "NoNewPrivs:\t1\n"); got != nnp {
				t.Errorf("no_new_privs is %v", got)
			}
			if r.Code == 0 {
				t.Errorf("mkdir was allowed: %s", r.Out)
			}
			inside, err := os.ReadFile(b.path("vol/hook"))
			b.must(err)
			if want := fmt.Sprintf("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t%016x\nSeccomp:\t2\n", effective(t, r.Out)); string(inside) != want {
				t.Errorf("the hook had more rights than the program: %q, want %q", inside, want)
			}
		})
	}
}

// A program with the setuid bit gains nothing under no_new_privs, and an exec has the same confinement as the run.
func TestExecIsConfinedLikeTheContainer(t *testing.T) {
	b := newBundle(t)
	b.must(os.WriteFile(b.path("bin/probe"), rig.Probe(t), 0o755))
	b.must(os.Chmod(b.path("bin/probe"), 0o755|os.ModeSetuid)) // busybox would drop what it gains
	b.must(os.Chmod(b.path("vol"), 0o777))
	b.spec.Process.User.UID, b.spec.Process.User.GID = 1000, 1000
	b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActErrno}}}
	m := b.start()
	if out := m.exec("cat", "/proc/self/status").OK().Out; !strings.Contains(out, "Seccomp:\t2\n") || !strings.Contains(out, "NoNewPrivs:\t1\n") {
		t.Errorf("exec: %s", out)
	}
	if r := m.exec("mkdir", "/vol/made"); r.Code == 0 {
		t.Errorf("exec: mkdir was allowed: %s", r.Out)
	}
	if out := m.exec("probe", "print", "/proc/self/status").OK().Out; !strings.Contains(out, "Uid:\t1000\t1000\t") {
		t.Errorf("a setuid program became %s", out)
	}
	m.delete()
	// The control: the bit works where no_new_privs is off.
	b.spec.Process.NoNewPrivileges = false
	m = b.start()
	if out := m.exec("probe", "print", "/proc/self/status").OK().Out; !strings.Contains(out, "Uid:\t1000\t0\t") {
		t.Errorf("the control became %s", out)
	}
}

// effective is the effective set in a /proc/PID/status.
func effective(t *testing.T, status string) (set uint64) {
	t.Helper()
	_, rest, _ := strings.Cut(status, "CapEff:\t")
	if _, err := fmt.Sscanf(rest, "%x", &set); err != nil {
		t.Fatalf("%v: %s", err, status)
	}
	return set
}
