package security

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/test/rig"
)

// A machine has several doors into the kernel: a 32-bit program makes its calls by other numbers, and for sockets by
// one number, socketcall(2), for all of them. A filter that knows the first door only is walked around.
//
// The guard: linux/seccomp tells the architecture apart before the number, kills what the profile does not list, and
// puts rows about socket(2) to socketcall(2) too (linux/seccomp mux.go).
func TestOtherDoors(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED: the other door is that of 32-bit programs on amd64")
	}
	b := newBundle(t)
	b.must(os.WriteFile(b.path("bin/probe"), rig.ProbeFor(t, "386"), 0o755))
	profile := func(arches ...specs.Arch) {
		b.spec.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: arches,
			Syscalls: []specs.LinuxSyscall{{Names: []string{"socket"}, Action: specs.ActErrno}}}
	}
	b.spec.Process.Args = []string{"probe", "print", "/proc/self/status"}
	profile(specs.ArchX86_64)
	if r := b.run(); r.Code != 128+31 {
		t.Errorf("a 32-bit program under a filter for 64-bit ones: exit %d, %s%s: want SIGSYS", r.Code, r.Out, r.Err)
	}
	profile(specs.ArchX86_64, specs.ArchX86)
	if r := b.run(); r.Code != 0 || !strings.Contains(r.Out, "Seccomp:\t2") {
		t.Errorf("a 32-bit program under a filter for both: exit %d, %s%s", r.Code, r.Out, r.Err)
	}
	// Go's 32-bit programs make sockets by socketcall(2). The control: without the filter it waits for datagrams.
	b.sh("probe udp-echo 127.0.0.1:7 & sleep 1; kill $! && echo listened")
	if r := b.run(); strings.Contains(r.Out, "listened") || !strings.Contains(r.Err, "operation not permitted") {
		t.Errorf("socket(2) is refused, socketcall(2): %s%s", r.Out, r.Err)
	}
	b.spec.Linux.Seccomp = nil
	if r := b.run(); !strings.Contains(r.Out, "listened") {
		t.Errorf("the control did not listen: %s%s", r.Out, r.Err)
	}
}
