// Package seccomp compiles an OCI seccomp profile into the classic BPF program that seccomp(2) loads, without
// libseccomp.
//
// The program first tells the architecture apart, then finds the system call's number by binary search over ranges
// of equal outcome, and only calls with argument conditions cost more:
//
//	ld [arch] ── unknown ──▶ KILL_PROCESS
//	   │ known (one block each)
//	   ▼
//	ld [nr] ──▶ nr >= 0x40000000? (x86-64) ──▶ the x32 block, or KILL_PROCESS
//	   │
//	   ▼
//	jge tree ──▶ range ──▶ RET action
//	               └─────▶ conditions on args ──▶ RET action of the first rule that matches
//
// A call newer than every call that the profile names gets ENOSYS instead of an errno default, so that C libraries
// fall back to the older call (runc's rule; a profile cannot have meant a call that it could not know).
package seccomp

import (
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

//go:generate go run ./gen

// Program is a filter ready for seccomp(2) SECCOMP_SET_MODE_FILTER.
type Program struct {
	Filter   []unix.SockFilter
	Flags    uint // SECCOMP_FILTER_FLAG_*
	Listener bool // some action is SCMP_ACT_NOTIFY: Flags has NEW_LISTENER, the call returns a descriptor
}

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h.
const maxInstructions = 4096

// Compile translates profile. Names that an architecture does not have are passed over, as the specification's
// runtimes do; unknown actions, operators, flags and architectures are errors of class InvalidArgument.
func Compile(profile *specs.LinuxSeccomp) (*Program, error) {
	p := &Program{}
	if err := p.setFlags(profile); err != nil {
		return nil, err
	}
	def, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	arches, err := architectures(profile.Architectures)
	if err != nil {
		return nil, err
	}
	var blocks []block
	for _, a := range arches {
		named, err := outcomes(profile, a, def)
		if err != nil {
			return nil, err
		}
		code, err := tree(make([]unix.SockFilter, 0, 512), ranges(named, def))
		if err != nil {
			return nil, fmt.Errorf("seccomp: %s: %w", a.name, err)
		}
		blocks = append(blocks, block{arch: a, code: code})
	}
	p.Filter = link(blocks)
	if len(p.Filter) > maxInstructions {
		return nil, errdefs.InvalidArgument("seccomp: the profile needs %d instructions, the kernel allows %d", len(p.Filter), maxInstructions)
	}
	return p, nil
}

func (p *Program) setFlags(profile *specs.LinuxSeccomp) error {
	if profile.Flags == nil {
		// As runc: without flags the program must not switch on speculation mitigations for the whole container.
		p.Flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	for _, f := range profile.Flags {
		switch f {
		case specs.LinuxSeccompFlagLog:
			p.Flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			p.Flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			p.Flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		case "SECCOMP_FILTER_FLAG_TSYNC":
			// The filter is installed by a process with one thread: nothing to synchronise.
		default:
			return errdefs.InvalidArgument("seccomp: flag %q is not known", f)
		}
	}
	notify := profile.DefaultAction == specs.ActNotify
	for _, s := range profile.Syscalls {
		notify = notify || s.Action == specs.ActNotify
	}
	if notify {
		p.Listener = true
		p.Flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	return nil
}

// action returns the filter's return value for one OCI action; errno (default EPERM) fills its data.
func action(act specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errno != nil {
		data = uint32(*errno) & unix.SECCOMP_RET_DATA
	}
	switch act {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | data, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | data, nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, nil
	}
	return 0, errdefs.InvalidArgument("seccomp: action %q is not known", act)
}

// rule is one row of the profile for one system call.
type rule struct {
	conditions []specs.LinuxSeccompArg
	ret        uint32
}

// leaf is what happens to one system call: the first rule whose conditions all hold, else otherwise.
type leaf struct {
	rules     []rule
	otherwise uint32
	named     bool // some row of the profile is about it
	fixed     bool // its unconditional outcome is settled
}

// leaves are an architecture's calls by number. Nearly all numbers are small: those are looked up by index, and a
// map has what some architectures keep far above.
type leaves struct {
	base uint32 // the number of low[0]
	low  []leaf
	high map[uint32]*leaf
}

const lowNumbers = 576 // x32 has the highest: 547

// of returns the leaf of number nr, which is the profile's from now on.
func (l *leaves) of(nr, def uint32) *leaf {
	f := l.high[nr]
	if i := nr - l.base; i < lowNumbers {
		f = &l.low[i]
	} else if f == nil {
		f = &leaf{}
		l.high[nr] = f
	}
	if !f.named {
		f.named, f.otherwise = true, def
	}
	return f
}

// each calls do for every named leaf in the order of the numbers.
func (l *leaves) each(do func(nr uint32, f *leaf)) {
	for i := range l.low {
		if l.low[i].named {
			do(l.base+uint32(i), &l.low[i])
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(l.high)) {
		do(nr, l.high[nr])
	}
}

// outcomes collects the profile's leaves for one architecture.
func outcomes(profile *specs.LinuxSeccomp, a *architecture, def uint32) (*leaves, error) {
	l := &leaves{low: make([]leaf, lowNumbers), high: make(map[uint32]*leaf)}
	if a.x32 {
		l.base = x32Bit
	}
	find := finder{a: a}
	for _, s := range profile.Syscalls {
		ret, err := action(s.Action, s.ErrnoRet)
		if err != nil {
			return nil, err
		}
		for _, name := range s.Names {
			nr, ok := find.number(name)
			if !ok {
				continue
			}
			f := l.of(nr, def)
			switch {
			case len(s.Args) > 0:
				f.rules = append(f.rules, split(s.Args, ret)...)
			case !f.fixed:
				f.otherwise, f.fixed = ret, true
			}
		}
	}
	return l, nil
}

// split makes one rule of conditions on different arguments (all must hold); conditions on the same argument are
// alternatives, each a rule of its own, as runc and Docker's profiles mean them.
func split(args []specs.LinuxSeccompArg, ret uint32) []rule {
	seen := make(map[uint]bool)
	repeated := false
	for _, c := range args {
		repeated = repeated || seen[c.Index]
		seen[c.Index] = true
	}
	if !repeated {
		return []rule{{args, ret}}
	}
	var out []rule
	for _, c := range args {
		out = append(out, rule{[]specs.LinuxSeccompArg{c}, ret})
	}
	return out
}

// span is a range of system call numbers, from start up to the next span's start, with one outcome.
type span struct {
	start uint32
	leaf  *leaf
}

// ranges turns the leaves into spans that cover all numbers from 0.
func ranges(l *leaves, def uint32) []span {
	plain := func(ret uint32) *leaf { return &leaf{otherwise: ret} }
	standard := plain(def)
	spans := append(make([]span, 0, 64), span{0, standard})
	add := func(start uint32, f *leaf) {
		last := &spans[len(spans)-1]
		if len(f.rules) == 0 && len(last.leaf.rules) == 0 && last.leaf.otherwise == f.otherwise {
			return
		}
		if last.start == start {
			last.leaf = f
			return
		}
		spans = append(spans, span{start, f})
	}
	any, next := false, uint32(0)
	l.each(func(nr uint32, f *leaf) {
		if any && nr != next {
			add(next, standard)
		}
		add(nr, f)
		any, next = true, nr+1
	})
	if !any {
		return spans
	}
	add(next, standard)
	if def&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO {
		// An older call that the profile leaves out keeps the default: it was left out on purpose.
		add(next, plain(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	return spans
}

// architectures resolves the profile's list; an empty one means the machine's own. The machine's own is always in,
// because the runtime itself must be able to reach execve.
func architectures(list []specs.Arch) ([]*architecture, error) {
	native := byGoarch(runtime.GOARCH)
	if native == nil {
		return nil, errdefs.NotImplemented("seccomp: no system call table for %s", runtime.GOARCH)
	}
	out := []*architecture{native}
	for _, name := range list {
		a := byName(name)
		if a == nil {
			if knownElsewhere(name) {
				continue
			}
			return nil, errdefs.InvalidArgument("seccomp: architecture %q is not known", name)
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out, nil
}
