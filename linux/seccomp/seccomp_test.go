package seccomp

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// reference evaluates the profile without BPF, from what the package's documentation says.
func reference(p *specs.LinuxSeccomp, d data) uint32 {
	def, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	var a *architecture
	x32 := d.arch == unix.AUDIT_ARCH_X86_64 && d.nr >= x32Bit
	for _, name := range append([]specs.Arch{specs.ArchX86_64}, p.Architectures...) {
		if c := byName(name); c != nil && c.audit == d.arch && c.x32 == x32 {
			a = c
		}
	}
	if a == nil && x32 && d.nr == ^uint32(0) {
		return def
	}
	if a == nil {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	newest, found, named := uint32(0), false, false
	var first, whole *uint32
	take := func(r *uint32) {
		if first == nil {
			first = r
		}
	}
	for _, s := range p.Syscalls {
		ret, _ := action(s.Action, s.ErrnoRet)
		for _, name := range s.Names {
			nr, ok := (&finder{a: a}).number(name)
			named = named || ok && nr == d.nr
			if found = found || ok; ok && (nr < privateARM || a.x32) {
				newest = max(newest, nr)
			}
			if ret == def {
				continue
			}
			if stands, code := standsFor(name); a.mux && code != 0 && d.nr == stands && (len(s.Args) == 0 || !lets(ret)) {
				mask := ^uint64(0)
				if !lets(ret) && stands == ipc {
					mask = ipcMask
				} else if !lets(ret) || a.narrow {
					mask = socketcallMask
				}
				if d.args[0]&mask == code {
					take(&ret)
				}
			}
			if !ok || nr != d.nr {
				continue
			}
			if len(s.Args) == 0 && whole == nil {
				whole = &ret
			}
			for _, r := range split(s.Args, ret) {
				if holds(r.conditions, d, a) {
					take(&ret)
				}
			}
		}
	}
	switch {
	case whole != nil:
		return *whole
	case first != nil:
		return *first
	case found && !named && d.nr > newest && !lets(def): // only ARM's own calls are named and beyond the newest
		return noSuchCall
	}
	return def
}

func holds(conditions []specs.LinuxSeccompArg, d data, a *architecture) bool {
	for _, c := range conditions {
		v := d.args[c.Index]
		if a.narrow {
			v, c.Value, c.ValueTwo = v&0xffffffff, c.Value&0xffffffff, c.ValueTwo&0xffffffff
		}
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: v == c.Value, specs.OpNotEqual: v != c.Value, specs.OpLessThan: v < c.Value,
			specs.OpLessEqual: v <= c.Value, specs.OpGreaterThan: v > c.Value, specs.OpGreaterEqual: v >= c.Value,
			specs.OpMaskedEqual: v&c.Value == c.ValueTwo&c.Value,
		}[c.Op]
		if !ok {
			return false
		}
	}
	return true
}

func dockerProfile(t testing.TB) *specs.LinuxSeccomp {
	p, err := profiles.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDockerProfileAgainstReference(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the sampled architectures are those of an amd64 machine")
	}
	p := dockerProfile(t)
	prog, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d instructions", len(prog.Filter))
	args := []uint64{0, 1, 2, 16, 40, 0x7fffffff, 0xffffffff, 1 << 32, 0x7E020000, 0x40000000, ^uint64(0)}
	for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64} {
		for _, base := range []uint32{0, x32Bit} {
			for nr := base; nr < base+600; nr++ {
				for _, arg := range args {
					d := data{nr: nr, arch: arch, args: [6]uint64{arg, arg, arg, arg, arg, arg}}
					if got, want := run(t, prog.Filter, d), reference(p, d); got != want {
						t.Fatalf("%+v: %#x, want %#x", d, got, want)
					}
				}
			}
		}
	}
}

func FuzzAgainstReference(f *testing.F) {
	f.Add(uint8(0), uint64(1), uint64(2), uint64(1), uint32(41), uint8(0))
	f.Add(uint8(6), uint64(0xff), uint64(0x10), uint64(0x110), uint32(41), uint8(3))
	f.Add(uint8(3), ^uint64(0), uint64(1)<<32, uint64(1)<<33, uint32(42), uint8(9))
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual}
	f.Fuzz(func(t *testing.T, op uint8, v1, v2, arg uint64, nr uint32, shape uint8) {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}}
		second := specs.LinuxSeccompArg{Index: uint(shape % 3), Op: ops[int(op/7)%len(ops)], Value: v2, ValueTwo: v1}
		p.Syscalls = []specs.LinuxSyscall{
			{Names: []string{"socket", "connect", "nosuchcall"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
				{Index: 0, Op: ops[int(op)%len(ops)], Value: v1, ValueTwo: v2}, second}},
			{Names: []string{"socket"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{second}},
			{Names: []string{"read", "write", "accept4"}, Action: specs.ActAllow},
		}
		prog, err := Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []uint32{nr, 41, 42, 0, 1, 288, x32Bit | 41, 359} {
			d := data{nr: n, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{arg, v1, v2}}
			if got, want := run(t, prog.Filter, d), reference(p, d); got != want {
				t.Fatalf("%+v: %#x, want %#x", d, got, want)
			}
		}
	})
}

func TestBadProfiles(t *testing.T) {
	for name, p := range map[string]*specs.LinuxSeccomp{
		"action":   {DefaultAction: "SCMP_ACT_MAYBE"},
		"arch":     {DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_ABACUS"}},
		"flag":     {DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_X"}},
		"operator": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_X"}}}}},
		"notify":   {DefaultAction: specs.ActNotify},
		"write":    {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"write"}, Action: specs.ActNotify}}},
		"index":    {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
	} {
		if _, err := Compile(p); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Without these three every filter would differ from runc's where it matters least visibly.
func TestFlagsAndListener(t *testing.T) {
	notify := []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}
	wait := []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv, specs.LinuxSeccompFlagLog, "SECCOMP_FILTER_FLAG_TSYNC"}
	for _, c := range []struct {
		name string
		p    specs.LinuxSeccomp
		want uint
	}{
		{"no flags", specs.LinuxSeccomp{}, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
		{"empty flags", specs.LinuxSeccomp{Flags: []specs.LinuxSeccompFlag{}}, 0},
		{"wait without a listener", specs.LinuxSeccomp{Flags: wait}, unix.SECCOMP_FILTER_FLAG_LOG},
		{"wait with a listener", specs.LinuxSeccomp{Flags: wait, Syscalls: notify},
			unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
	} {
		c.p.DefaultAction = specs.ActAllow
		p, err := Compile(&c.p)
		if err != nil || p.Flags != c.want || p.Listener != (len(c.p.Syscalls) > 0) {
			t.Errorf("%s: %+v, %v, want flags %#x", c.name, p, err, c.want)
		}
	}
}

func TestRawBefore(t *testing.T) {
	encode := func(f ...unix.SockFilter) string {
		var b []byte
		for _, in := range f {
			b = binary.NativeEndian.AppendUint32(append(binary.NativeEndian.AppendUint16(b, in.Code), in.Jt, in.Jf), in.K)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	// The raw filter lets everything through but getpid, the profile everything but getppid.
	raw, err := Raw(encode(stmt(opLoad, offNr), test(opJeq, unix.SYS_GETPID, 1, 0), stmt(opRet, unix.SECCOMP_RET_ALLOW), stmt(opRet, unix.SECCOMP_RET_ERRNO|1)))
	if err != nil {
		t.Fatal(err)
	}
	profile, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"getppid"}, Action: specs.ActTrap}}})
	if err != nil {
		t.Fatal(err)
	}
	both, err := raw.Before(profile)
	if err != nil {
		t.Fatal(err)
	}
	for nr, want := range map[uint32]uint32{unix.SYS_GETPID: unix.SECCOMP_RET_ERRNO | 1, unix.SYS_GETPPID: unix.SECCOMP_RET_TRAP, unix.SYS_READ: unix.SECCOMP_RET_ALLOW} {
		if got := run(t, both.Filter, data{nr: nr, arch: unix.AUDIT_ARCH_X86_64}); got != want {
			t.Errorf("call %d: %#x, want %#x", nr, got, want)
		}
	}
	for _, bad := range []string{"", "!", "AAAA", encode(make([]unix.SockFilter, maxInstructions+1)...)} {
		if _, err := Raw(bad); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	computed, err := Raw(encode(stmt(unix.BPF_RET|unix.BPF_A, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := computed.Before(profile); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("an answer that is computed: %v", err)
	}
}

func TestUnknown(t *testing.T) {
	got, err := Unknown(&specs.LinuxSeccomp{Architectures: []specs.Arch{specs.ArchX86},
		Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "_llseek", "accept", "redd"}}}})
	if err != nil || len(got) != 1 || got[0] != "redd" {
		t.Errorf("%q, %v", got, err)
	}
}

// The kernel itself must take the filter and refuse by it: on a thread that dies with the test.
func TestKernelTakesDockerProfile(t *testing.T) {
	p := dockerProfile(t)
	errno := uint(unix.EXDEV)
	p.Syscalls = append([]specs.LinuxSyscall{{Names: []string{"getsid"}, Action: specs.ActErrno, ErrnoRet: &errno}}, p.Syscalls...)
	prog, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the filtered thread ends with this goroutine
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			result <- err
			return
		}
		fprog := unix.SockFprog{Len: uint16(len(prog.Filter)), Filter: &prog.Filter[0]}
		if _, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(prog.Flags), uintptr(unsafe.Pointer(&fprog))); e != 0 {
			result <- e
			return
		}
		// By x32's number too, whether or not the kernel has that ABI: the filter comes first.
		if _, _, e := syscall.RawSyscall(unix.SYS_GETSID|x32Bit, 0, 0, 0); runtime.GOARCH == "amd64" && e != unix.EXDEV {
			result <- fmt.Errorf("x32: %w", e)
			return
		}
		_, _, e := syscall.RawSyscall(unix.SYS_GETSID, 0, 0, 0)
		result <- e
	}()
	if err := <-result; !errors.Is(err, unix.EXDEV) {
		t.Fatalf("getsid under the filter: %v, want EXDEV", err)
	}
}

func BenchmarkCompileDockerProfile(b *testing.B) {
	p := dockerProfile(b)
	for b.Loop() {
		if _, err := Compile(p); err != nil {
			b.Fatal(err)
		}
	}
}
