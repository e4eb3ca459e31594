package seccomp

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// entry is one system call of an architecture.
type entry struct {
	name string
	nr   uint32
}

// architecture is one ABI that a process may enter the kernel by.
type architecture struct {
	name   specs.Arch
	goarch string
	audit  uint32 // AUDIT_ARCH_*, linux/audit.h
	table  []entry
	x32    bool // numbers carry bit 30 and some calls have their own numbers
	big    bool // big-endian: the high half of an argument comes first
	narrow bool // arguments are 32 bits wide: conditions look at the low half alone
	mux    bool // has socketcall(2) and ipc(2)
}

// x32Bit is __X32_SYSCALL_BIT of arch/x86/include/uapi/asm/unistd.h.
const x32Bit = 0x40000000

var known = []*architecture{
	{name: specs.ArchX86_64, goarch: "amd64", audit: unix.AUDIT_ARCH_X86_64, table: namesAMD64},
	{name: specs.ArchX86, goarch: "386", audit: unix.AUDIT_ARCH_I386, table: names386, narrow: true, mux: true},
	{name: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, table: namesAMD64, x32: true, narrow: true},
	{name: specs.ArchAARCH64, goarch: "arm64", audit: unix.AUDIT_ARCH_AARCH64, table: namesARM64},
	{name: specs.ArchARM, goarch: "arm", audit: unix.AUDIT_ARCH_ARM, table: namesARM, narrow: true},
	{name: specs.ArchRISCV64, goarch: "riscv64", audit: unix.AUDIT_ARCH_RISCV64, table: namesRISCV64},
	{name: specs.ArchPPC64LE, goarch: "ppc64le", audit: unix.AUDIT_ARCH_PPC64LE, table: namesPPC64LE, mux: true},
	{name: specs.ArchS390X, goarch: "s390x", audit: unix.AUDIT_ARCH_S390X, table: namesS390X, big: true, mux: true},
	{name: specs.ArchLOONGARCH64, goarch: "loong64", audit: unix.AUDIT_ARCH_LOONGARCH64, table: namesLOONG64},
}

func byName(name specs.Arch) *architecture {
	for _, a := range known {
		if a.name == name {
			return a
		}
	}
	return nil
}

func byGoarch(goarch string) *architecture {
	for _, a := range known {
		if a.goarch == goarch {
			return a
		}
	}
	return nil
}

// elsewhere are the architectures of the specification whose calls no machine of ours can make: they are accepted and
// need no code.
func elsewhere() []specs.Arch {
	return []specs.Arch{
		specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64,
		specs.ArchMIPSEL64N32, specs.ArchPPC, specs.ArchPPC64, specs.ArchS390, specs.ArchPARISC,
		specs.ArchPARISC64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
	}
}

func knownElsewhere(name specs.Arch) bool { return slices.Contains(elsewhere(), name) }

// finder looks up names. Profiles list them mostly in the order of the tables, so it begins where it was.
type finder struct {
	a  *architecture
	at int
}

// near is how far a finder looks ahead before it searches the whole table.
const near = 8

// number returns the call's number as it appears in struct seccomp_data, x32's with its bit.
func (f *finder) number(name string) (uint32, bool) {
	table := f.a.table
	if f.a.x32 {
		if i := slices.Index(x32Names[:], name); i >= 0 {
			return x32Bit | uint32(x32First+i), true
		}
		if slices.Contains(notX32[:], name) {
			return 0, false
		}
	}
	i, ok := f.at, false
	for ; i < min(f.at+near, len(table)) && !ok; i++ {
		ok = table[i].name == name
	}
	if i--; !ok {
		if i, ok = slices.BinarySearchFunc(table, name, func(e entry, s string) int { return strings.Compare(e.name, s) }); !ok {
			return 0, false
		}
	}
	f.at = i + 1
	nr := table[i].nr
	if f.a.x32 {
		nr |= x32Bit
	}
	return nr, true
}

// x32Names are the calls from number 512 on that x32 has beside x86-64's (arch/x86/entry/syscalls/syscall_64.tbl).
const x32First = 512

var x32Names = [...]string{
	"rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg", "recvmsg", "execve", "ptrace",
	"rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo", "sigaltstack", "timer_create", "mq_notify", "kexec_load",
	"waitid", "set_robust_list", "get_robust_list", "vmsplice", "move_pages", "preadv", "pwritev",
	"rt_tgsigqueueinfo", "recvmmsg", "sendmmsg", "process_vm_readv", "process_vm_writev", "setsockopt", "getsockopt",
	"io_setup", "io_submit", "execveat", "preadv2", "pwritev2",
}

// notX32 are the calls of x86-64 that x32 does not have (the same table, ABI "64", without those of x32Names).
var notX32 = [...]string{
	"uselib", "_sysctl", "create_module", "get_kernel_syms", "query_module", "nfsservctl", "set_thread_area",
	"get_thread_area", "epoll_ctl_old", "epoll_wait_old", "vserver", "uretprobe", "uprobe", "map_shadow_stack",
}
