package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// allCapabilities in the order of their numbers (capabilities(7), Linux 5.9).
var allCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// CapabilitiesOf names the capabilities of a bit mask, as CapBnd of proc(5) status shows it.
func CapabilitiesOf(mask uint64) []string {
	var out []string
	for i, name := range allCapabilities {
		if mask&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// Capabilities applies --cap-add, --cap-drop and --privileged to the default set, by Docker's rules: names with or
// without "CAP_" in any case, and ALL. available is what the daemon itself can give.
func Capabilities(add, drop []string, privileged bool, available []string) ([]string, error) {
	add, err := NormalizeCapabilities("CapAdd", add, available)
	if err != nil {
		return nil, err
	}
	drop, err = NormalizeCapabilities("CapDrop", drop, available)
	if err != nil {
		return nil, err
	}
	if privileged {
		return available, nil
	}
	var base []string
	switch {
	case slices.Contains(add, "ALL"):
		base = without(available, drop)
	case slices.Contains(drop, "ALL"):
	default:
		base = without(DefaultCapabilities(), drop)
	}
	for _, c := range add {
		if c != "ALL" && !slices.Contains(base, c) {
			base = append(base, c)
		}
	}
	return base, nil
}

// NormalizeCapabilities brings names to the form "CAP_X" or "ALL"; an unknown or unavailable one is an error that
// names the field.
func NormalizeCapabilities(field string, names, available []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, n := range names {
		c := strings.ToUpper(strings.TrimSpace(n))
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if c != "ALL" && !slices.Contains(allCapabilities, c) {
			return nil, errdefs.InvalidArgument("invalid %s: unknown capability: %q", field, c)
		}
		if field == "CapAdd" && c != "ALL" && len(available) > 0 && !slices.Contains(available, c) {
			return nil, errdefs.InvalidArgument("invalid CapAdd: capability not supported by your kernel or not available in the current environment: %q", c)
		}
		out = append(out, c)
	}
	return out, nil
}

func without(all, drop []string) []string {
	out := make([]string, 0, len(all))
	for _, c := range all {
		if !slices.Contains(drop, c) {
			out = append(out, c)
		}
	}
	return out
}

// capabilityKey is one string per set, for caches.
func capabilityKey(caps []string) string {
	sorted := slices.Clone(caps)
	slices.Sort(sorted)
	return fmt.Sprint(sorted)
}
