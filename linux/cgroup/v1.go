package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// setV1 writes the limits of r into the v1 hierarchies.
func (g *Group) setV1(r *specs.LinuxResources) error {
	if len(r.Unified) > 0 {
		return errdefs.InvalidArgument("invalid configuration: linux.resources.unified needs a machine with cgroup v2 alone; this one has cgroup v1")
	}
	for _, c := range []struct {
		name  string
		asked bool
		set   func(dir string) error
	}{
		{"cpuset", r.CPU != nil && (r.CPU.Cpus != "" || r.CPU.Mems != ""), func(dir string) error { return setCPUSet(dir, r.CPU) }},
		{"memory", r.Memory != nil, func(dir string) error { return memoryV1(dir, r.Memory) }},
		{"cpu", r.CPU != nil, func(dir string) error { return cpuV1(dir, r.CPU) }},
		{"pids", r.Pids != nil && r.Pids.Limit != nil, func(dir string) error { return setPids(dir, *r.Pids.Limit) }},
		{"blkio", r.BlockIO != nil, func(dir string) error { return blkioV1(dir, r.BlockIO) }},
		{"hugetlb", len(r.HugepageLimits) > 0, func(dir string) error { return setHugepages(dir, ".limit_in_bytes", r.HugepageLimits) }},
		{"net_cls", r.Network != nil && r.Network.ClassID != nil && *r.Network.ClassID != 0, func(dir string) error {
			return writeInt(dir, "net_cls.classid", *r.Network.ClassID)
		}},
		{"net_prio", r.Network != nil && len(r.Network.Priorities) > 0, func(dir string) error { return netPriorities(dir, r.Network.Priorities) }},
		{"rdma", len(r.Rdma) > 0, func(dir string) error { return setRdma(dir, r.Rdma) }},
	} {
		if !c.asked {
			continue
		}
		dir := g.paths[c.name]
		if dir == "" {
			if c.name == "memory" && *r.Memory == (specs.LinuxMemory{}) || c.name == "cpu" && *r.CPU == (specs.LinuxCPU{}) {
				continue
			}
			return errdefs.FailedPrecondition("cannot set %s limit: the container has no group of that controller", c.name)
		}
		if err := c.set(dir); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func value(p *int64) int64 {
	if p == nil {
		return 0
	}
	return *p
}

const memsw = "memory.memsw.limit_in_bytes"

// memoryV1 sets memory and memory+swap in the order that the kernel accepts: the second may never be below the first.
func memoryV1(dir string, m *specs.LinuxMemory) error {
	limit, swap := value(m.Limit), value(m.Swap)
	if limit == -1 && swap == 0 {
		// Unlimited memory means unlimited swap, where the kernel accounts it.
		if _, err := read(dir, memsw); err == nil {
			swap = -1
		}
	}
	swapFirst := false
	if limit != 0 && swap != 0 {
		now, err := readUint(dir, "memory.limit_in_bytes")
		if err != nil {
			return err
		}
		swapFirst = swap == -1 || now < uint64(swap)
	}
	if swapFirst {
		if err := writeInt(dir, memsw, swap); err != nil {
			return err
		}
	}
	if limit != 0 {
		if err := memoryLimit(dir, limit); err != nil {
			return err
		}
	}
	if swap != 0 && !swapFirst {
		if err := writeInt(dir, memsw, swap); err != nil {
			return err
		}
	}
	if v := value(m.Reservation); v != 0 {
		if err := writeInt(dir, "memory.soft_limit_in_bytes", v); err != nil {
			return err
		}
	}
	if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
		if err := write(dir, "memory.oom_control", "1"); err != nil {
			return err
		}
	}
	if m.Swappiness == nil || *m.Swappiness == 1<<64-1 {
		return nil
	}
	if *m.Swappiness > 100 {
		return errdefs.InvalidArgument("invalid memory swappiness value: %d (valid range is 0-100)", *m.Swappiness)
	}
	return writeInt(dir, "memory.swappiness", *m.Swappiness)
}

func memoryLimit(dir string, limit int64) error {
	err := writeInt(dir, "memory.limit_in_bytes", limit)
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	usage, _ := readUint(dir, "memory.usage_in_bytes")
	peak, _ := readUint(dir, "memory.max_usage_in_bytes")
	return fmt.Errorf("unable to set memory limit to %d (current usage: %d, peak usage: %d): %w", limit, usage, peak, err)
}

func cpuV1(dir string, c *specs.LinuxCPU) error {
	if c.Shares != nil && *c.Shares != 0 {
		if err := cpuShares(dir, *c.Shares); err != nil {
			return err
		}
	}
	// The kernel checks each value against the ones that are there: what it refuses before the quota is set may be
	// right after it.
	var late []func() error
	try := func(name string, v uint64, optional bool) error {
		err := writeInt(dir, name, v)
		switch {
		case optional && missing(err):
			return nil
		case errors.Is(err, unix.EINVAL) && value(c.Quota) != 0:
			late = append(late, func() error { return writeInt(dir, name, v) })
			return nil
		}
		return err
	}
	if c.Period != nil && *c.Period != 0 {
		if err := try("cpu.cfs_period_us", *c.Period, false); err != nil {
			return err
		}
	}
	if c.Burst != nil {
		if err := try("cpu.cfs_burst_us", *c.Burst, true); err != nil {
			return err
		}
	}
	if v := value(c.Quota); v != 0 {
		if err := writeInt(dir, "cpu.cfs_quota_us", v); err != nil {
			return err
		}
	}
	for _, again := range late {
		if err := again(); err != nil {
			return err
		}
	}
	if c.Idle != nil {
		if err := writeInt(dir, "cpu.idle", *c.Idle); err != nil {
			return err
		}
	}
	return realtime(dir, c)
}

// cpuShares sets the shares and looks whether the kernel took another value, as it does beyond its bounds.
func cpuShares(dir string, shares uint64) error {
	if err := writeInt(dir, "cpu.shares", shares); err != nil {
		return err
	}
	got, err := readUint(dir, "cpu.shares")
	switch {
	case err != nil:
		return err
	case shares > got:
		return errdefs.InvalidArgument("the maximum allowed cpu-shares is %d", got)
	case shares < got:
		return errdefs.InvalidArgument("the minimum allowed cpu-shares is %d", got)
	}
	return nil
}

// realtime sets period and runtime; each is checked against the other.
func realtime(dir string, c *specs.LinuxCPU) error {
	again := false
	if c.RealtimePeriod != nil && *c.RealtimePeriod != 0 {
		err := writeInt(dir, "cpu.rt_period_us", *c.RealtimePeriod)
		again = errors.Is(err, unix.EINVAL) && value(c.RealtimeRuntime) != 0
		if err != nil && !again {
			return err
		}
	}
	if v := value(c.RealtimeRuntime); v != 0 {
		if err := writeInt(dir, "cpu.rt_runtime_us", v); err != nil {
			return err
		}
	}
	if again {
		return writeInt(dir, "cpu.rt_period_us", *c.RealtimePeriod)
	}
	return nil
}

func setCPUSet(dir string, c *specs.LinuxCPU) error {
	if c.Cpus != "" {
		if err := write(dir, "cpuset.cpus", c.Cpus); err != nil {
			return err
		}
	}
	if c.Mems != "" {
		return write(dir, "cpuset.mems", c.Mems)
	}
	return nil
}

// inheritCPUs fills the empty cpuset files of a v1 group and of its parents from above: the kernel lets no process
// into a group that has none.
func inheritCPUs(dir string) error {
	_, err := cpuset(dir)
	return err
}

// cpuset returns the group's processors and memory nodes, its parents' where it had none.
func cpuset(dir string) (has [2]string, err error) {
	names := [2]string{"cpuset.cpus", "cpuset.mems"}
	for i, name := range names {
		s, err := read(dir, name)
		if err != nil {
			return has, err
		}
		has[i] = strings.TrimSpace(s)
	}
	if has[0] != "" && has[1] != "" {
		return has, nil
	}
	parent := filepath.Dir(dir)
	if !isKind(parent, unix.CGROUP_SUPER_MAGIC) {
		return has, nil // dir is the root
	}
	above, err := cpuset(parent)
	if err != nil {
		return has, err
	}
	for i, name := range names {
		if has[i] != "" {
			continue
		}
		if err := write(dir, name, above[i]); err != nil {
			return has, err
		}
		has[i] = above[i]
	}
	return has, nil
}

// setPids writes pids.max, the same in both versions. 0 would keep the container's own process out; runc takes it
// for 1, and a negative number for no limit.
func setPids(dir string, limit int64) error {
	if limit < 0 {
		return write(dir, "pids.max", "max")
	}
	return writeInt(dir, "pids.max", max(limit, 1))
}

func blkioV1(dir string, b *specs.LinuxBlockIO) error {
	weight, device := "blkio.weight", "blkio.weight_device"
	if b.Weight != nil || len(b.WeightDevice) > 0 {
		if _, err := read(dir, weight); missing(err) {
			weight, device = "blkio.bfq.weight", "blkio.bfq.weight_device"
		}
	}
	if b.Weight != nil && *b.Weight != 0 {
		if err := writeInt(dir, weight, *b.Weight); err != nil {
			return err
		}
	}
	if b.LeafWeight != nil && *b.LeafWeight != 0 {
		if err := writeInt(dir, "blkio.leaf_weight", *b.LeafWeight); err != nil {
			return err
		}
	}
	for _, d := range b.WeightDevice {
		for name, w := range map[string]*uint16{device: d.Weight, "blkio.leaf_weight_device": d.LeafWeight} {
			if w == nil || *w == 0 {
				continue
			}
			if err := write(dir, name, deviceValue(d.Major, d.Minor, uint64(*w))); err != nil {
				return err
			}
		}
	}
	for name, list := range map[string][]specs.LinuxThrottleDevice{
		"read_bps_device": b.ThrottleReadBpsDevice, "write_bps_device": b.ThrottleWriteBpsDevice,
		"read_iops_device": b.ThrottleReadIOPSDevice, "write_iops_device": b.ThrottleWriteIOPSDevice,
	} {
		for _, d := range list {
			if err := write(dir, "blkio.throttle."+name, deviceValue(d.Major, d.Minor, d.Rate)); err != nil {
				return err
			}
		}
	}
	return nil
}

func deviceValue(major, minor int64, v uint64) string {
	return fmt.Sprintf("%d:%d %d", major, minor, v)
}

// setHugepages sets each page size's limit, and that of reservations where the kernel has it (Linux 5.7).
func setHugepages(dir, suffix string, list []specs.LinuxHugepageLimit) error {
	for _, h := range list {
		if strings.ContainsAny(h.Pagesize, "/.") {
			return errdefs.InvalidArgument("linux.resources.hugepageLimits: page size %q", h.Pagesize)
		}
		limit := strconv.FormatUint(h.Limit, 10)
		if err := write(dir, "hugetlb."+h.Pagesize+suffix, limit); err != nil {
			return err
		}
		if err := write(dir, "hugetlb."+h.Pagesize+".rsvd"+suffix, limit); err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

func netPriorities(dir string, list []specs.LinuxInterfacePriority) error {
	for _, p := range list {
		if err := write(dir, "net_prio.ifpriomap", fmt.Sprintf("%s %d", p.Name, p.Priority)); err != nil {
			return err
		}
	}
	return nil
}

// setRdma writes rdma.max, the same in both versions.
func setRdma(dir string, limits map[string]specs.LinuxRdma) error {
	for device, l := range limits {
		line := device
		if l.HcaHandles != nil {
			line += " hca_handle=" + strconv.FormatUint(uint64(*l.HcaHandles), 10)
		}
		if l.HcaObjects != nil {
			line += " hca_object=" + strconv.FormatUint(uint64(*l.HcaObjects), 10)
		}
		if err := write(dir, "rdma.max", line); err != nil {
			return err
		}
	}
	return nil
}
