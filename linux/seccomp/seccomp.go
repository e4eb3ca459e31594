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
// A call newer than every call that the profile names gets ENOSYS instead of a default that refuses, so that C
// libraries fall back to the older call (runc's rule; a profile cannot have meant a call that it could not know).
//
// What rows of a profile mean together is what libseccomp makes of them as runc and crun feed it, since profiles are
// written against that; the differential test holds both against each other. The differences, all to the safe side:
// an unknown architecture kills the process and not only the thread; multiplexed calls (mux.go).
package seccomp

import (
	"fmt"
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
		code, err := tree(make([]unix.SockFilter, 0, 512), a, ranges(named, a, def))
		if err != nil {
			return nil, fmt.Errorf("seccomp: %s: %w", a.name, err)
		}
		blocks = append(blocks, block{arch: a, code: code})
	}
	p.Filter = link(blocks, def)
	if len(p.Filter) > maxInstructions {
		return nil, errdefs.InvalidArgument("seccomp: the profile needs %d instructions, the kernel allows %d", len(p.Filter), maxInstructions)
	}
	return p, nil
}

func (p *Program) setFlags(profile *specs.LinuxSeccomp) error {
	wait := false
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
			wait = true
		case "SECCOMP_FILTER_FLAG_TSYNC":
			// The filter is installed by a process with one thread: nothing to synchronise.
		default:
			return errdefs.InvalidArgument("seccomp: flag %q is not known", f)
		}
	}
	if profile.DefaultAction == specs.ActNotify {
		return errdefs.InvalidArgument("SCMP_ACT_NOTIFY cannot be used as default action")
	}
	if profile.ListenerPath != "" { // whoever listens there waits for a descriptor, also of a filter that asks nothing
		p.Listener = true
		p.Flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	for _, s := range profile.Syscalls {
		if s.Action != specs.ActNotify {
			continue
		}
		// The process tells the host side by write(2) that there is a listener: nobody would answer it.
		if slices.Contains(s.Names, "write") {
			return errdefs.InvalidArgument("SCMP_ACT_NOTIFY cannot be used for the write syscall")
		}
		p.Listener = true
		p.Flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	if wait && p.Listener { // EINVAL without a listener
		p.Flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
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
