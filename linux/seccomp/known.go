package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// KnownArchs lists the architectures that a configuration may name, sorted.
func KnownArchs() []string {
	var out []string
	for _, a := range known {
		out = append(out, string(a.name))
	}
	for _, name := range elsewhere() {
		out = append(out, string(name))
	}
	slices.Sort(out)
	return out
}

// flagBits are the flags of linux.seccomp.flags (seccomp(2)).
var flagBits = []struct {
	name specs.LinuxSeccompFlag
	bit  uintptr
}{
	{"SECCOMP_FILTER_FLAG_TSYNC", unix.SECCOMP_FILTER_FLAG_TSYNC},
	{specs.LinuxSeccompFlagSpecAllow, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{specs.LinuxSeccompFlagLog, unix.SECCOMP_FILTER_FLAG_LOG},
	{specs.LinuxSeccompFlagWaitKillableRecv, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
}

// KnownFlags lists the flags that a configuration may have.
func KnownFlags() []string {
	var out []string
	for _, f := range flagBits {
		out = append(out, string(f.name))
	}
	return out
}

// SupportedFlags lists those that the running kernel takes too. It looks at the flags first and only then at the
// filter, so that no filter at all is EFAULT for a flag that it knows and EINVAL for another.
func SupportedFlags() []string {
	var out []string
	for _, f := range flagBits {
		bits := f.bit
		if f.name == specs.LinuxSeccompFlagWaitKillableRecv {
			bits |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER // without which it means nothing
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, bits, 0); errno == unix.EFAULT {
			out = append(out, string(f.name))
		}
	}
	return out
}
