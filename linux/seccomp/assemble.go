package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

const (
	opLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opJa   = unix.BPF_JMP | unix.BPF_JA
	opJeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opJgt  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opJge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opRet  = unix.BPF_RET | unix.BPF_K
)

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

// block is the code of one architecture, entered with the call's number in the accumulator.
type block struct {
	arch *architecture
	code []unix.SockFilter
}

// link puts the blocks behind the test of the architecture.
//
// The number -1 is no call of x32's: a tracer skips a call by it (seccomp(2)), and it gets the default def.
func link(blocks []block, def uint32) []unix.SockFilter {
	kill := stmt(opRet, unix.SECCOMP_RET_KILL_PROCESS)
	out := []unix.SockFilter{stmt(opLoad, offArch)}
	for _, b := range blocks {
		if b.arch.x32 {
			continue
		}
		body := []unix.SockFilter{stmt(opLoad, offNr)}
		if b.arch.name == specs.ArchX86_64 {
			// x32 calls come in under x86-64's audit number with bit 30 set.
			x32 := []unix.SockFilter{{Code: opJeq, Jf: 1, K: ^uint32(0)}, stmt(opRet, def), kill}
			for _, o := range blocks {
				if o.arch.x32 {
					x32 = o.code
				}
			}
			body = append(body, branch(opJge, x32Bit, b.code, x32)...)
		} else {
			body = append(body, b.code...)
		}
		// On equality fall into the body, else jump over it.
		out = append(out, unix.SockFilter{Code: opJeq, Jt: 1, Jf: 0, K: b.arch.audit}, stmt(opJa, uint32(len(body))))
		out = append(out, body...)
	}
	return append(out, kill)
}

// branch emits a test with the code for no directly behind it and the code for yes after that.
func branch(test uint16, k uint32, no, yes []unix.SockFilter) []unix.SockFilter {
	var out []unix.SockFilter
	if len(no) <= 255 {
		out = append(out, unix.SockFilter{Code: test, Jt: uint8(len(no)), K: k})
	} else { // conditional jumps reach 255 instructions, JA any number
		out = append(out, unix.SockFilter{Code: test, Jf: 1, K: k}, stmt(opJa, uint32(len(no))))
	}
	return append(append(out, no...), yes...)
}

// tree appends a binary search over spans to out; spans[0].start is 0 (or below every number that can arrive).
func tree(out []unix.SockFilter, a *architecture, spans []span) ([]unix.SockFilter, error) {
	if len(spans) == 1 {
		code, err := emit(spans[0].leaf, a)
		return append(out, code...), err
	}
	mid := len(spans) / 2
	at := len(out)
	out, err := tree(append(out, unix.SockFilter{}), a, spans[:mid])
	if err != nil {
		return nil, err
	}
	// As in branch: the lower half lies between the test and the upper one.
	if low := len(out) - at - 1; low <= 255 {
		out[at] = unix.SockFilter{Code: opJge, Jt: uint8(low), K: spans[mid].start}
	} else {
		out[at] = unix.SockFilter{Code: opJge, Jf: 1, K: spans[mid].start}
		out = slices.Insert(out, at+1, stmt(opJa, uint32(low)))
	}
	return tree(out, a, spans[mid:])
}

// emit writes a leaf: each rule's conditions, then its RET; a condition that fails goes on with the next rule.
func emit(l *leaf, a *architecture) ([]unix.SockFilter, error) {
	if len(l.rules) == 0 {
		return []unix.SockFilter{stmt(opRet, l.otherwise)}, nil
	}
	var out []unix.SockFilter
	for _, r := range l.rules {
		code, err := emitRule(r, a)
		if err != nil {
			return nil, err
		}
		out = append(out, code...)
	}
	return append(out, stmt(opRet, l.otherwise)), nil
}

// Jump marks inside a rule, replaced when its length is known.
const (
	toNext = 254 // the next condition of the same rule
	toFail = 255 // past the rule's RET
)

func emitRule(r rule, a *architecture) ([]unix.SockFilter, error) {
	var out []unix.SockFilter
	for _, c := range r.conditions {
		code, err := emitCondition(c, a)
		if err != nil {
			return nil, err
		}
		base := len(out)
		for i := range code {
			resolve(&code[i].Jt, base+len(code), base+i)
			resolve(&code[i].Jf, base+len(code), base+i)
		}
		out = append(out, code...)
	}
	out = append(out, stmt(opRet, r.ret))
	for i := range out {
		for _, j := range []*uint8{&out[i].Jt, &out[i].Jf} {
			if *j == toFail {
				*j = uint8(len(out) - i - 1)
			}
		}
	}
	return out, nil
}

func resolve(j *uint8, next, at int) {
	if *j == toNext {
		*j = uint8(next - at - 1)
	}
}

// emitCondition compares one 64-bit argument by its two halves. Six conditions of at most 8 instructions stay far
// below the 254 of a jump mark.
func emitCondition(c specs.LinuxSeccompArg, a *architecture) ([]unix.SockFilter, error) {
	if c.Index > 5 {
		return nil, errdefs.InvalidArgument("seccomp: argument index %d: a system call has arguments 0 to 5", c.Index)
	}
	lo, hi := uint32(offArgs+8*c.Index), uint32(offArgs+8*c.Index+4)
	if a.big {
		lo, hi = hi, lo
	}
	low, err := compare(c, lo)
	if err != nil || a.narrow {
		return low, err
	}
	vh := uint32(c.Value >> 32)
	var high []unix.SockFilter // decides, or goes on behind itself to low
	switch c.Op {
	case specs.OpEqualTo:
		high = []unix.SockFilter{stmt(opLoad, hi), test(opJeq, vh, 0, toFail)}
	case specs.OpNotEqual:
		high = []unix.SockFilter{stmt(opLoad, hi), test(opJeq, vh, 0, toNext)}
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		high = []unix.SockFilter{stmt(opLoad, hi), test(opJgt, vh, toNext, 0), test(opJeq, vh, 0, toFail)}
	case specs.OpLessThan, specs.OpLessEqual:
		high = []unix.SockFilter{stmt(opLoad, hi), test(opJgt, vh, toFail, 0), test(opJeq, vh, 0, toNext)}
	case specs.OpMaskedEqual:
		high = []unix.SockFilter{stmt(opLoad, hi), stmt(opAnd, vh), test(opJeq, uint32(c.ValueTwo>>32)&vh, 0, toFail)}
	}
	return append(high, low...), nil
}

// compare compares the 32-bit half of an argument at offset with that of the condition's values.
func compare(c specs.LinuxSeccompArg, offset uint32) ([]unix.SockFilter, error) {
	load, v := stmt(opLoad, offset), uint32(c.Value)
	switch c.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{load, test(opJeq, v, toNext, toFail)}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{load, test(opJeq, v, toFail, toNext)}, nil
	case specs.OpGreaterThan:
		return []unix.SockFilter{load, test(opJgt, v, toNext, toFail)}, nil
	case specs.OpGreaterEqual:
		return []unix.SockFilter{load, test(opJge, v, toNext, toFail)}, nil
	case specs.OpLessThan:
		return []unix.SockFilter{load, test(opJge, v, toFail, toNext)}, nil
	case specs.OpLessEqual:
		return []unix.SockFilter{load, test(opJgt, v, toFail, toNext)}, nil
	case specs.OpMaskedEqual: // (argument & value) == valueTwo, of which bits outside of the mask do not count
		return []unix.SockFilter{load, stmt(opAnd, v), test(opJeq, uint32(c.ValueTwo)&v, toNext, toFail)}, nil
	}
	return nil, errdefs.InvalidArgument("seccomp: operator %q is not known", c.Op)
}

func test(op uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: op, K: k, Jt: jt, Jf: jf}
}
