package spec

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroup2Magic is the file system type of a pure v2 hierarchy, statfs(2).
const cgroup2Magic = 0x63677270

// DetectHost looks at this machine once. Devices are left out: they are listed when a privileged container starts.
func DetectHost() Host {
	h := Host{Capabilities: boundingSet()}
	var st unix.Statfs_t
	if unix.Statfs("/sys/fs/cgroup", &st) == nil {
		h.CgroupV2 = int64(st.Type) == cgroup2Magic
	}
	if h.CgroupV2 {
		h.SwapLimit = true
	} else if _, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"); err == nil {
		h.SwapLimit = true
	}
	for i := range 1024 {
		p := fmt.Sprintf("/sys/devices/system/cpu/cpu%d", i)
		if _, err := os.Stat(p); err != nil {
			break
		}
		if _, err := os.Stat(p + "/thermal_throttle"); err == nil {
			h.MaskedExtra = append(h.MaskedExtra, p+"/thermal_throttle")
		}
	}
	h.Hostname, _ = os.Hostname()
	if _, err := os.Stat("/dev/mqueue"); err == nil {
		h.Queues = true
	}
	h.Seccomp = new(SeccompCache).Default
	return h
}

func boundingSet() []string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			mask, _ := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return CapabilitiesOf(mask)
		}
	}
	return nil
}
