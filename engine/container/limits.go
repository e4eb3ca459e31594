package container

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// leastMemory is the smallest memory limit that a container can be started in.
const leastMemory = 6 << 20

// checkResources validates limits as dockerd does, drops what this kernel cannot do with a warning, and fills in
// the swap limit that a memory limit brings.
func checkResources(r *types.Resources, h spec.Host) (warnings []string, err error) {
	if err := checkMemory(r); err != nil {
		return nil, err
	}
	if r.Memory > 0 && r.MemorySwap == 0 {
		r.MemorySwap = 2 * r.Memory
	}
	if r.Memory > 0 && !h.SwapLimit {
		warnings = append(warnings, "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.")
		r.MemorySwap = -1
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && h.CgroupV2 {
		warnings = append(warnings, "Your kernel does not support OomKillDisable. OomKillDisable discarded.")
		r.OomKillDisable = nil
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && r.Memory == 0 {
		warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
	}
	if err := checkCPU(r); err != nil {
		return nil, err
	}
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return nil, errdefs.InvalidArgument("range of blkio weight is from 10 to 1000")
	}
	for _, u := range r.Ulimits {
		if u == nil || u.Name == "" || u.Hard != -1 && (u.Soft > u.Hard || u.Soft == -1) {
			return nil, errdefs.InvalidArgument("ulimit: the soft limit must be less than or equal to the hard limit")
		}
	}
	return warnings, nil
}

// bounded warns of what this engine cannot give a container because it lacks CAP_SYS_RESOURCE: the runtime then gives
// the nearest that it can.
func bounded(hc *types.HostConfig, b *spec.Bounds) (warnings []string) {
	if b == nil {
		return nil
	}
	for _, u := range hc.Ulimits {
		if most, ok := b.Limits[u.Name]; ok && most >= 0 && (u.Hard < 0 || u.Hard > most) {
			warnings = append(warnings, fmt.Sprintf("The hard limit of ulimit %s cannot be raised to %d: the engine's own is %d and it lacks CAP_SYS_RESOURCE. The container gets %d.",
				u.Name, u.Hard, most, most))
		}
	}
	if hc.OomScoreAdj < 0 && hc.OomScoreAdj < b.Score {
		warnings = append(warnings, fmt.Sprintf("The OOM score cannot be lowered to %d: the engine's own is %d and it lacks CAP_SYS_RESOURCE. The container gets %d.",
			hc.OomScoreAdj, b.Score, b.Score))
	}
	return warnings
}

func checkMemory(r *types.Resources) error {
	switch {
	case r.Memory != 0 && r.Memory < leastMemory:
		return errdefs.InvalidArgument("Minimum memory limit allowed is 6MB")
	case r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory:
		return errdefs.InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
	case r.Memory == 0 && r.MemorySwap > 0:
		return errdefs.InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
	case r.MemorySwap < -1:
		return errdefs.InvalidArgument("invalid memory swap %d: use -1 for no limit", r.MemorySwap)
	case r.MemorySwappiness != nil && (*r.MemorySwappiness < -1 || *r.MemorySwappiness > 100):
		return errdefs.InvalidArgument("Invalid value: %v, valid memory swappiness range is 0-100", *r.MemorySwappiness)
	case r.MemoryReservation != 0 && r.MemoryReservation < leastMemory:
		return errdefs.InvalidArgument("Minimum memory reservation allowed is 6MB")
	case r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation:
		return errdefs.InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	return nil
}

func checkCPU(r *types.Resources) error {
	cpus := runtime.NumCPU()
	switch {
	case r.NanoCPUs > 0 && r.CPUPeriod != 0:
		return errdefs.InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
	case r.NanoCPUs > 0 && r.CPUQuota != 0:
		return errdefs.InvalidArgument("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
	case r.NanoCPUs < 0 || r.NanoCPUs > int64(cpus)*1e9:
		return errdefs.InvalidArgument("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.NanoCPUs > 0 && r.NanoCPUs < 1e7:
		return errdefs.InvalidArgument("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", cpus, cpus)
	case r.CPUShares < 0:
		return errdefs.InvalidArgument("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	case r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1000000):
		return errdefs.InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case r.CPUQuota > 0 && r.CPUQuota < 1000:
		return errdefs.InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	for _, set := range []struct{ name, want, file string }{
		{"CPUs", r.CpusetCpus, "/sys/devices/system/cpu/online"},
		{"memory nodes", r.CpusetMems, "/sys/devices/system/node/online"},
	} {
		if set.want == "" {
			continue
		}
		want, ok := parseSet(set.want)
		if !ok {
			return errdefs.InvalidArgument("could not parse cpuset.cpus or cpuset.mems value %q", set.want)
		}
		online, err := os.ReadFile(set.file)
		if err != nil {
			continue
		}
		text := strings.TrimSpace(string(online))
		have, _ := parseSet(text)
		for n := range want {
			if !have[n] {
				return errdefs.InvalidArgument("Requested %s are not available - requested %s, available: %s", set.name, set.want, text)
			}
		}
	}
	return nil
}

// parseSet reads a list of numbers and ranges, as cpuset(7) has it: "0-2,7".
func parseSet(s string) (map[int]bool, bool) {
	const most = 8192
	out := map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		a, b, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(a)
		last := first
		if err == nil && ranged {
			last, err = strconv.Atoi(b)
		}
		if err != nil || first < 0 || last < first || last > most {
			return nil, false
		}
		for n := first; n <= last; n++ {
			out[n] = true
		}
	}
	return out, true
}
