package seccomp

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	randomProfiles = 700
	samplesEach    = 2000 // 1.4 million in all, a tenth of them of profiles that libseccomp refuses
)

// What libseccomp makes of a profile and what this package makes of it answers every call in the same way, but for
// the differences that differ names.
func TestAgainstLibseccomp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2)) // the same every time: a mismatch can be looked at again
	g := &generator{Rand: rnd, names: namesOfLibseccomp(t)}
	docker := dockerProfile(t)
	for i := range docker.Syscalls { // without the calls that are newer than that library
		docker.Syscalls[i].Names = slices.DeleteFunc(docker.Syscalls[i].Names, func(n string) bool { return !slices.Contains(g.names, n) })
	}
	profiles := []*specs.LinuxSeccomp{docker}
	for range randomProfiles {
		profiles = append(profiles, g.profile())
	}
	var in strings.Builder
	for _, p := range profiles {
		describe(&in, p, len(p.Syscalls) > 32) // when runc asks for a binary tree
	}
	programs := oracle(t, in.String())
	counts := map[string]int{}
	for i, p := range profiles {
		theirs, contradiction := readProgram(t, programs)
		ours, err := Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		g.look(p)
		for range samplesEach {
			d := g.sample(p)
			got := run(t, ours.Filter, d)
			if got != reference(p, d) {
				t.Fatalf("profile %d: %+v: %#x, the reference says %#x\n%s", i, d, got, reference(p, d), rows(p, d))
			}
			if contradiction || !loads(theirs) {
				counts["without an answer"]++
				continue
			}
			want := run(t, theirs, d)
			why := differ(p, d, got, want)
			if counts[why]++; why == "mismatch" {
				t.Fatalf("profile %d: %+v: %#x, libseccomp says %#x\n%s", i, d, got, want, rows(p, d)+text(p))
			}
		}
	}
	t.Logf("%d samples: %v", len(profiles)*samplesEach, counts)
	for _, why := range []string{"equal", "architecture", "newer call", "multiplexed", "overlapping rows"} {
		if counts[why] == 0 {
			t.Errorf("no sample was of the kind %q", why)
		}
	}
	if n := len(profiles)*samplesEach - counts["without an answer"]; n < 1_000_000 || counts["equal"] < n*8/10 {
		t.Errorf("%d samples were compared, %d equal", n, counts["equal"])
	}
	if counts["merged negations"] > 2000 {
		t.Errorf("%d samples were left to the reference alone", counts["merged negations"])
	}
}

// loads reports whether a program of libseccomp's loads the call's number where an architecture's part begins. For a
// few profiles version 2.5 forgets to, and compares the architecture's number with those of calls.
func loads(f []unix.SockFilter) bool {
	for i, in := range f {
		if in.Code != opJeq || !slices.ContainsFunc(known, func(a *architecture) bool { return a.audit == in.K }) {
			continue
		}
		if next := f[i+1+int(in.Jt)]; next.Code != opLoad && next.Code != opRet {
			return false
		}
	}
	return true
}

// differ says why the answers may differ: "equal" when they do not, "mismatch" when there is no reason.
func differ(p *specs.LinuxSeccomp, d data, got, want uint32) string {
	def, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	matching, named := consider(p, d)
	switch {
	case got == want:
		return "equal"
	case want == unix.SECCOMP_RET_KILL_THREAD && got == unix.SECCOMP_RET_KILL_PROCESS && !named.arch:
		return "architecture" // killed as a whole
	case got == noSuchCall && want == def && !lets(def) && d.nr > named.newest:
		return "newer call" // runc's rule, which it puts before libseccomp's program
	case named.mux && (d.nr == socketcall || d.nr == ipc):
		// libseccomp judges by arguments that are not the real call's, and by ipc's version.
		return "multiplexed"
	case len(matching) > 1 && slices.Contains(matching, got) && slices.Contains(matching, want):
		return "overlapping rows" // the first here, libseccomp's tree has an order of its own
	case named.rules > 1 && named.negative:
		// libseccomp 2.5 writes <, <= and != as what a test has to fail, and loses branches when it merges such tests
		// of several rows into one tree: an argument that is below the values of two rows may get the default.
		return "merged negations"
	}
	return "mismatch"
}

type consideration struct {
	arch     bool // some architecture of the profile takes the call
	mux      bool
	newest   uint32
	rules    int  // with conditions, about the call
	negative bool // one of them compares by <, <= or !=
}

// consider lists the different answers of the rows whose conditions hold.
func consider(p *specs.LinuxSeccomp, d data) (answers []uint32, c consideration) {
	for _, name := range append([]specs.Arch{specs.ArchX86_64}, p.Architectures...) {
		a := byName(name)
		if a.audit != d.arch || a.audit == unix.AUDIT_ARCH_X86_64 && a.x32 != (d.nr >= x32Bit) {
			continue
		}
		c = consideration{arch: true, mux: a.mux}
		for _, s := range p.Syscalls {
			ret, _ := action(s.Action, s.ErrnoRet)
			for _, name := range s.Names {
				nr, ok := (&finder{a: a}).number(name)
				if ok && (nr < privateARM || a.x32) {
					c.newest = max(c.newest, nr)
				}
				if !ok || nr != d.nr {
					continue
				}
				for _, r := range split(s.Args, ret) {
					c.rules++
					c.negative = c.negative || slices.ContainsFunc(r.conditions, func(c specs.LinuxSeccompArg) bool {
						return c.Op == specs.OpLessThan || c.Op == specs.OpLessEqual || c.Op == specs.OpNotEqual
					})
					if holds(r.conditions, d, a) && !slices.Contains(answers, ret) {
						answers = append(answers, ret)
					}
				}
			}
		}
	}
	return answers, c
}

// rows are those of the profile about the call, for a failure's text.
func rows(p *specs.LinuxSeccomp, d data) string {
	var b strings.Builder
	fmt.Fprintf(&b, "default %s, architectures %v\n", p.DefaultAction, p.Architectures)
	for _, a := range known {
		for _, s := range p.Syscalls {
			for _, name := range s.Names {
				if nr, ok := (&finder{a: a}).number(name); ok && a.audit == d.arch && nr == d.nr {
					fmt.Fprintf(&b, "%s (%s) %s %+v\n", name, a.name, s.Action, s.Args)
				}
			}
		}
	}
	return b.String()
}

// machines are architectures that occur together.
var machines = [][]specs.Arch{
	{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}, {specs.ArchX86_64, specs.ArchX86}, {specs.ArchX86_64, specs.ArchX32},
	{specs.ArchX86_64}, {specs.ArchAARCH64, specs.ArchARM}, {specs.ArchAARCH64}, {specs.ArchARM}, {specs.ArchRISCV64}, {specs.ArchPPC64LE},
}

// generator makes profiles, and calls that are near to what they speak of.
type generator struct {
	*rand.Rand
	names  []string
	calls  map[*architecture][]uint32
	values []uint64
}

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

func (g *generator) action() (specs.LinuxSeccompAction, *uint) {
	a := pick(g, []specs.LinuxSeccompAction{specs.ActAllow, specs.ActAllow, specs.ActErrno, specs.ActErrno, specs.ActKill,
		specs.ActKillProcess, specs.ActTrap, specs.ActLog, specs.ActTrace})
	if g.IntN(2) == 0 || a != specs.ActErrno && a != specs.ActTrace {
		return a, nil
	}
	errno := uint(g.IntN(134))
	return a, &errno
}

func (g *generator) profile() *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{}
	p.DefaultAction, p.DefaultErrnoRet = g.action()
	p.Architectures = pick(g, machines)
	few := g.names
	if g.IntN(2) == 0 { // several rows about the same calls
		few = []string{pick(g, g.names), pick(g, g.names), "socket", "socketcall", "clone", "shmat", "accept4", "personality"}
	}
	for range g.IntN(16) {
		s := specs.LinuxSyscall{}
		s.Action, s.ErrnoRet = g.action()
		for range 1 + g.IntN(6) {
			s.Names = append(s.Names, pick(g, few))
		}
		if g.IntN(2) == 0 {
			for range 1 + g.IntN(3) {
				s.Args = append(s.Args, g.condition())
			}
		}
		p.Syscalls = append(p.Syscalls, s)
	}
	return p
}

func (g *generator) condition() specs.LinuxSeccompArg {
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual}
	c := specs.LinuxSeccompArg{Index: uint(g.IntN(6)), Op: pick(g, ops), Value: g.value(), ValueTwo: g.value()}
	if c.Op == specs.OpMaskedEqual {
		c.Value |= 4 // under an empty mask libseccomp takes the row for one without conditions
	}
	return c
}

func (g *generator) value() uint64 {
	v := pick(g, []uint64{0, 1, 2, 38, 40, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, 1<<32 + 1, 0x7E020000, 1 << 63, ^uint64(0), g.Uint64()})
	return v
}

// look notes what a profile speaks of.
func (g *generator) look(p *specs.LinuxSeccomp) {
	g.calls, g.values = make(map[*architecture][]uint32), []uint64{0, 1, ^uint64(0)}
	for _, s := range p.Syscalls {
		for _, c := range s.Args {
			g.values = append(g.values, c.Value, c.Value+1, c.Value-1, c.ValueTwo, c.Value&c.ValueTwo, c.Value&0xffffffff, c.Value|g.Uint64()<<32)
		}
		for _, a := range known {
			for _, name := range s.Names {
				if nr, ok := (&finder{a: a}).number(name); ok {
					g.calls[a] = append(g.calls[a], nr, nr+1)
				}
			}
			if a.mux {
				g.calls[a] = append(g.calls[a], socketcall, ipc)
			}
		}
	}
}

func (g *generator) sample(p *specs.LinuxSeccomp) data {
	a := byName(pick(g, p.Architectures))
	if g.IntN(16) == 0 && !foreign(p) {
		a = pick(g, known)
	}
	d := data{arch: a.audit, nr: uint32(g.IntN(600))}
	if a.x32 {
		d.nr |= x32Bit
	}
	if calls := g.calls[a]; len(calls) > 0 && g.IntN(4) > 0 {
		d.nr = pick(g, calls)
	} else if g.IntN(16) == 0 {
		d.nr = pick(g, []uint32{^uint32(0), 1 << 31, x32Bit, x32Bit - 1, g.Uint32()})
	}
	for i := range d.args {
		d.args[i] = pick(g, g.values)
	}
	if (d.nr == socketcall || d.nr == ipc) && g.IntN(2) == 0 {
		d.args[0] = uint64(g.IntN(26))
	}
	return d
}

// text is the profile as the oracle gets it.
func text(p *specs.LinuxSeccomp) string {
	var b strings.Builder
	describe(&b, p, false)
	return b.String()
}
