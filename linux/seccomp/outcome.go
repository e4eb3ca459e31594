package seccomp

import (
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rule is one row of the profile for one system call.
type rule struct {
	conditions []specs.LinuxSeccompArg
	ret        uint32
}

// leaf is what happens to one system call: the first rule whose conditions all hold, else otherwise.
type leaf struct {
	rules     []rule
	otherwise uint32
	used      bool // some row of the profile is about it
	whole     bool // a row without conditions is: it settles the call
}

// leaves are an architecture's calls by number. Nearly all numbers are small: those are looked up by index, and a
// map has what some architectures keep far above.
type leaves struct {
	base   uint32 // the number of low[0]
	low    []leaf
	high   map[uint32]*leaf
	newest uint32 // the highest number of a call that the profile names
	any    bool   // ... and whether it names one
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
	if !f.used {
		f.used, f.otherwise = true, def
	}
	return f
}

// add puts one row to the call nr. As in libseccomp, the first row without conditions wins over all rows with some,
// and a row with the default action says nothing.
func (l *leaves) add(nr, def uint32, rows []rule, ret uint32) {
	f := l.of(nr, def)
	switch {
	case ret == def, f.whole:
	case len(rows) > 0:
		f.rules = append(f.rules, rows...)
	default:
		f.whole, f.otherwise, f.rules = true, ret, nil
	}
}

// each calls do for every used leaf in the order of the numbers.
func (l *leaves) each(do func(nr uint32, f *leaf)) {
	for i := range l.low {
		if l.low[i].used {
			do(l.base+uint32(i), &l.low[i])
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(l.high)) {
		do(nr, l.high[nr])
	}
}

// privateARM is where ARM's own calls begin (breakpoint, cacheflush, set_tls): beside the numbers that grow.
const privateARM = 0x0f0000

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
		rows := split(s.Args, ret)
		for _, name := range s.Names {
			if a.mux {
				l.multiplexed(name, def, rows, ret)
			}
			nr, ok := find.number(name)
			if !ok {
				continue
			}
			if l.any = true; nr < privateARM || a.x32 {
				l.newest = max(l.newest, nr)
			}
			l.add(nr, def, rows, ret)
		}
	}
	return l, nil
}

// split makes one rule of conditions on different arguments (all must hold); conditions on the same argument are
// alternatives, each a rule of its own, as runc and Docker's profiles mean them.
func split(args []specs.LinuxSeccompArg, ret uint32) []rule {
	if len(args) == 0 {
		return nil
	}
	seen := make(map[uint]bool, len(args))
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

// lets reports whether a return value lets the call through, at once or by a tracer.
func lets(ret uint32) bool {
	switch ret & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return true
	}
	return false
}

const noSuchCall = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// ranges turns the leaves into spans that cover all numbers from 0.
func ranges(l *leaves, a *architecture, def uint32) []span {
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
	// A tracer can answer for new calls itself, and an older call that the profile leaves out keeps the default: it
	// was left out on purpose.
	rest := standard
	if l.any && !lets(def) {
		rest = plain(noSuchCall)
		if a.name == specs.ArchS390X {
			// setup(2): what numbers that the kernel does not know arrive as.
			*l.of(0, def) = leaf{used: true, whole: true, otherwise: noSuchCall}
		}
	}
	used, next := false, uint32(0)
	gap := func(nr uint32) { // default from next up to nr, or beyond the newest ENOSYS
		if next <= l.newest {
			add(next, standard)
		}
		if edge := l.newest + 1; nr > edge {
			add(max(next, edge), rest)
		}
	}
	l.each(func(nr uint32, f *leaf) {
		if used && nr != next {
			gap(nr)
		}
		add(nr, f)
		used, next = true, nr+1
	})
	if used {
		gap(^uint32(0))
	}
	return spans
}
