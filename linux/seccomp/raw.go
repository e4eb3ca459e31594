package seccomp

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Raw decodes a filter that comes compiled: an array of struct sock_filter in this machine's byte order, in base64,
// as crun's annotation run.oci.seccomp_bpf_data has it. Whether it is a good program the kernel judges.
func Raw(text string) (*Program, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errdefs.InvalidArgument("seccomp: raw filter: %w", err)
	}
	if len(b) == 0 || len(b)%instructionSize != 0 || len(b)/instructionSize > maxInstructions {
		return nil, errdefs.InvalidArgument("seccomp: raw filter: %d bytes are not 1 to %d instructions of %d", len(b), maxInstructions, instructionSize)
	}
	return &Program{Filter: decode(b), Flags: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}, nil
}

// instructionSize is that of struct sock_filter.
const instructionSize = 8

// Before returns the program that asks p first and then next: what p refuses is refused, what it lets through is
// next's to judge. It never permits what next does not: an image's annotation may reach a runtime, and must not
// lift the profile.
func (p *Program) Before(next *Program) (*Program, error) {
	out := &Program{Filter: slices.Clone(p.Filter), Flags: next.Flags, Listener: next.Listener}
	for i, in := range out.Filter {
		switch {
		case in.Code == unix.BPF_RET|unix.BPF_A:
			return nil, errdefs.InvalidArgument("seccomp: a raw filter that computes its answer cannot stand beside a profile")
		case in.Code == opRet && !refuses(in.K):
			out.Filter[i] = stmt(opJa, uint32(len(out.Filter)-i-1))
		}
	}
	out.Filter = append(out.Filter, next.Filter...)
	if len(out.Filter) > maxInstructions {
		return nil, errdefs.InvalidArgument("seccomp: raw filter and profile have %d instructions, the kernel allows %d", len(out.Filter), maxInstructions)
	}
	return out, nil
}

// refuses reports whether a return value keeps the call from being made, whoever traces or supervises.
func refuses(ret uint32) bool {
	switch ret & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP, unix.SECCOMP_RET_ERRNO:
		return true
	}
	return false
}

// Unknown lists the names of profile that none of its architectures has: newer than this program, or misspelt.
func Unknown(profile *specs.LinuxSeccomp) ([]string, error) {
	arches, err := architectures(profile.Architectures)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range profile.Syscalls {
		for _, name := range s.Names {
			if !slices.ContainsFunc(arches, func(a *architecture) bool { return a.has(name) }) {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

func (a *architecture) has(name string) bool {
	_, code := standsFor(name)
	_, ok := (&finder{a: a}).number(name)
	return ok || a.mux && code != 0
}
