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

// sysResource is the number of CAP_SYS_RESOURCE, capabilities(7).
const sysResource = 24

// DetectHost looks at this machine once. known are the capabilities in the order of their numbers. Devices are left
// out: they are listed when a privileged container starts.
func DetectHost(known []string) Host {
	bounding, effective := capabilityMasks()
	h := Host{Known: known, Capabilities: namesOf(known, bounding)}
	h.Bounds = bounds(effective)
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
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	h.AppArmor = err == nil && strings.HasPrefix(string(enabled), "Y")
	_, err = os.Stat("/sys/fs/selinux/enforce")
	h.SELinux = err == nil
	h.Hostname, _ = os.Hostname()
	if _, err := os.Stat("/dev/mqueue"); err == nil {
		h.Queues = true
	}
	h.Seccomp = new(SeccompCache).Default
	return h
}

// capabilityMasks are this process's bounding and effective sets, proc(5) status.
func capabilityMasks() (bounding, effective uint64) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			bounding, _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			effective, _ = strconv.ParseUint(strings.TrimSpace(v), 16, 64)
		}
	}
	return bounding, effective
}

// Bounds are what an engine without CAP_SYS_RESOURCE cannot go beyond: its containers inherit them (getrlimit(2),
// proc(5) oom_score_adj). nil: nothing bounds it.
type Bounds struct {
	Limits map[string]int64 // hard limits by Docker's names, -1 for no limit
	Score  int              // the lowest oom_score_adj
}

// limitNumbers are Docker's names of the resource limits.
var limitNumbers = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

func bounds(effective uint64) *Bounds {
	if effective&(1<<sysResource) != 0 {
		return nil
	}
	b := &Bounds{Limits: make(map[string]int64, len(limitNumbers))}
	for name, n := range limitNumbers {
		var l unix.Rlimit
		if unix.Getrlimit(n, &l) == nil {
			b.Limits[name] = int64(l.Max) // RLIM_INFINITY is -1
		}
	}
	if text, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		b.Score, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	return b
}
