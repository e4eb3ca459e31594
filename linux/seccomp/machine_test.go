package seccomp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [6]uint64
}

// word is the 32-bit word at offset of the structure on a little-endian machine.
func (d *data) word(offset uint32) (uint32, bool) {
	switch {
	case offset == offNr:
		return d.nr, true
	case offset == offArch:
		return d.arch, true
	case offset >= offArgs && offset < offArgs+8*6 && offset%4 == 0:
		return uint32(d.args[(offset-offArgs)/8] >> (8 * (offset % 8))), true
	}
	return 0, offset == 8 || offset == 12 // the instruction pointer
}

// interpret runs a classic BPF program over d as the kernel does, with all instructions that seccomp(2) takes and
// that libseccomp or this package write.
func interpret(f []unix.SockFilter, d *data) (uint32, error) {
	var acc uint32
	for pc := 0; pc < len(f); pc++ {
		in := &f[pc]
		yes := false
		switch in.Code {
		case opLoad:
			word, ok := d.word(in.K)
			if !ok {
				return 0, fmt.Errorf("instruction %d loads from offset %d", pc, in.K)
			}
			acc = word
			continue
		case opAnd:
			acc &= in.K
			continue
		case opJa:
			pc += int(in.K)
			continue
		case opRet:
			return in.K, nil
		case opJeq:
			yes = acc == in.K
		case opJgt:
			yes = acc > in.K
		case opJge:
			yes = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = acc&in.K != 0
		default:
			return 0, fmt.Errorf("instruction %d has code %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return 0, fmt.Errorf("the program runs past its end")
}

func run(t testing.TB, f []unix.SockFilter, d data) uint32 {
	ret, err := interpret(f, &d)
	if err != nil {
		t.Fatal(err)
	}
	return ret
}
