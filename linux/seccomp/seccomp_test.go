package seccomp

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

// run interprets the filter as the kernel does (little-endian).
func run(t testing.TB, f []unix.SockFilter, d data) uint32 {
	var acc uint32
	for pc, steps := 0, 0; ; pc, steps = pc+1, steps+1 {
		if pc >= len(f) || steps > len(f) {
			t.Fatalf("the program runs out of its end at %d", pc)
		}
		in := f[pc]
		yes := false
		switch in.Code {
		case opLoad:
			switch {
			case in.K == offNr:
				acc = d.nr
			case in.K == offArch:
				acc = d.arch
			default:
				arg := d.args[(in.K-offArgs)/8]
				if (in.K-offArgs)%8 == 4 {
					arg >>= 32
				}
				acc = uint32(arg)
			}
			continue
		case opAnd:
			acc &= in.K
			continue
		case opJa:
			pc += int(in.K)
			continue
		case opRet:
			return in.K
		case opJeq:
			yes = acc == in.K
		case opJgt:
			yes = acc > in.K
		case opJge:
			yes = acc >= in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
}

// reference evaluates the profile without BPF, from the specification's text.
func reference(p *specs.LinuxSeccomp, d data) uint32 {
	var a *architecture
	for _, name := range append([]specs.Arch{specs.ArchX86_64}, p.Architectures...) {
		c := byName(name)
		if c != nil && c.audit == d.arch && c.x32 == (d.arch == unix.AUDIT_ARCH_X86_64 && d.nr >= x32Bit) {
			a = c
		}
	}
	if a == nil {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	def, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	newest, found := uint32(0), false
	var plain *uint32
	for _, s := range p.Syscalls {
		ret, _ := action(s.Action, s.ErrnoRet)
		for _, name := range s.Names {
			nr, ok := (&finder{a: a}).number(name)
			if !ok {
				continue
			}
			found = true
			newest = max(newest, nr)
			if nr != d.nr {
				continue
			}
			if len(s.Args) == 0 {
				if plain == nil {
					plain = &ret
				}
				continue
			}
			for _, r := range split(s.Args, ret) {
				if holds(r.conditions, d) {
					return ret
				}
			}
		}
	}
	if plain != nil {
		return *plain
	}
	if found && d.nr > newest && p.DefaultAction == specs.ActErrno {
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	return def
}

func holds(conditions []specs.LinuxSeccompArg, d data) bool {
	for _, c := range conditions {
		v := d.args[c.Index]
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: v == c.Value, specs.OpNotEqual: v != c.Value, specs.OpLessThan: v < c.Value,
			specs.OpLessEqual: v <= c.Value, specs.OpGreaterThan: v > c.Value, specs.OpGreaterEqual: v >= c.Value,
			specs.OpMaskedEqual: v&c.Value == c.ValueTwo,
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
		"index":    {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
	} {
		if _, err := Compile(p); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
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
