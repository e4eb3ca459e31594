// Package capability names the Linux capabilities (capabilities(7)) and turns lists of names into bit sets.
package capability

import "strings"

// names in the order of their numbers, include/uapi/linux/capability.h.
var names = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// Last is the number of the last capability that this package knows.
const Last = len(names) - 1

// Parse turns names ("CAP_CHOWN", any case) into a set with bit n for capability number n. Names that are not known
// come back in unknown: the runtime specification wants a warning for them, not an error.
func Parse(list []string) (set uint64, unknown []string) {
	for _, s := range list {
		n := number(s)
		if n < 0 {
			unknown = append(unknown, s)
			continue
		}
		set |= 1 << n
	}
	return set, unknown
}

// Names lists the capabilities of set in the order of their numbers.
func Names(set uint64) []string {
	var out []string
	for n, s := range names {
		if set&(1<<n) != 0 {
			out = append(out, s)
		}
	}
	return out
}

// All returns the names of every known capability.
func All() []string { return append([]string(nil), names[:]...) }

func number(s string) int {
	for n, name := range names {
		if strings.EqualFold(s, name) {
			return n
		}
	}
	return -1
}
