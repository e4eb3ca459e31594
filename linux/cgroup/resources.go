package cgroup

import (
	"math"
	"strconv"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// resources translates the specification's limits. Device rules always end with the devices that every container
// may use (config-linux.md, Default Devices).
func resources(r *specs.LinuxResources) (*cgroups.Resources, error) {
	out := &cgroups.Resources{}
	if r == nil {
		r = &specs.LinuxResources{}
	}
	for _, d := range r.Devices {
		rule, err := deviceRule(d)
		if err != nil {
			return nil, err
		}
		out.Devices = append(out.Devices, rule)
	}
	out.Devices = append(out.Devices, alwaysAllowed()...)
	setMemory(out, r.Memory)
	setCPU(out, r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		out.PidsLimit = r.Pids.Limit
	}
	if err := setBlockIO(out, r.BlockIO); err != nil {
		return nil, err
	}
	for _, h := range r.HugepageLimits {
		out.HugetlbLimit = append(out.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			out.NetClsClassid = *n.ClassID
		}
		for _, p := range n.Priorities {
			out.NetPrioIfpriomap = append(out.NetPrioIfpriomap, &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	for name, l := range r.Rdma {
		if out.Rdma == nil {
			out.Rdma = make(map[string]cgroups.LinuxRdma)
		}
		out.Rdma[name] = cgroups.LinuxRdma{HcaHandles: l.HcaHandles, HcaObjects: l.HcaObjects}
	}
	if len(r.Unified) > 0 {
		if !Unified() {
			return nil, errdefs.InvalidArgument("linux.resources.unified needs a machine with cgroup v2 alone; this one has cgroup v1")
		}
		out.Unified = r.Unified
	}
	return out, nil
}

func setMemory(out *cgroups.Resources, m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	if m.Limit != nil {
		out.Memory = *m.Limit
	}
	if m.Reservation != nil {
		out.MemoryReservation = *m.Reservation
	}
	if m.Swap != nil {
		out.MemorySwap = *m.Swap
	}
	if m.Swappiness != nil && *m.Swappiness <= 200 {
		out.MemorySwappiness = m.Swappiness
	}
	if m.DisableOOMKiller != nil {
		out.OomKillDisable = *m.DisableOOMKiller
	}
	if m.CheckBeforeUpdate != nil {
		out.MemoryCheckBeforeUpdate = *m.CheckBeforeUpdate
	}
}

func setCPU(out *cgroups.Resources, c *specs.LinuxCPU) {
	if c == nil {
		return
	}
	if c.Shares != nil {
		out.CpuShares = *c.Shares
		out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*c.Shares)
	}
	if c.Quota != nil {
		out.CpuQuota = *c.Quota
	}
	out.CpuBurst = c.Burst
	if c.Period != nil {
		out.CpuPeriod = *c.Period
	}
	if c.RealtimeRuntime != nil {
		out.CpuRtRuntime = *c.RealtimeRuntime
	}
	if c.RealtimePeriod != nil {
		out.CpuRtPeriod = *c.RealtimePeriod
	}
	out.CpusetCpus, out.CpusetMems, out.CPUIdle = c.Cpus, c.Mems, c.Idle
}

func setBlockIO(out *cgroups.Resources, b *specs.LinuxBlockIO) error {
	if b == nil {
		return nil
	}
	if b.Weight != nil {
		out.BlkioWeight = *b.Weight
	}
	if b.LeafWeight != nil {
		out.BlkioLeafWeight = *b.LeafWeight
	}
	for _, d := range b.WeightDevice {
		var weight, leaf uint16
		if d.Weight != nil {
			weight = *d.Weight
		}
		if d.LeafWeight != nil {
			leaf = *d.LeafWeight
		}
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, cgroups.NewWeightDevice(d.Major, d.Minor, weight, leaf))
	}
	throttle := func(list []specs.LinuxThrottleDevice) (t []*cgroups.ThrottleDevice) {
		for _, d := range list {
			t = append(t, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
		return t
	}
	out.BlkioThrottleReadBpsDevice = throttle(b.ThrottleReadBpsDevice)
	out.BlkioThrottleWriteBpsDevice = throttle(b.ThrottleWriteBpsDevice)
	out.BlkioThrottleReadIOPSDevice = throttle(b.ThrottleReadIOPSDevice)
	out.BlkioThrottleWriteIOPSDevice = throttle(b.ThrottleWriteIOPSDevice)
	return nil
}

func deviceRule(d specs.LinuxDeviceCgroup) (*devices.Rule, error) {
	rule := &devices.Rule{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Allow: d.Allow}
	switch d.Type {
	case "", "a":
	case "b":
		rule.Type = devices.BlockDevice
	case "c":
		rule.Type = devices.CharDevice
	default:
		return nil, errdefs.InvalidArgument("linux.resources.devices: type %q is not one of a, b, c", d.Type)
	}
	for _, n := range []struct {
		from *int64
		to   *int64
	}{{d.Major, &rule.Major}, {d.Minor, &rule.Minor}} {
		if n.from == nil {
			continue
		}
		if *n.from < -1 || *n.from > math.MaxUint32 {
			return nil, errdefs.InvalidArgument("linux.resources.devices: device number %s is out of range", strconv.FormatInt(*n.from, 10))
		}
		*n.to = *n.from
	}
	rule.Permissions = devices.Permissions(d.Access)
	if d.Access == "" {
		rule.Permissions = "rwm"
	}
	if !rule.Permissions.IsValid() {
		return nil, errdefs.InvalidArgument("linux.resources.devices: access %q: only r, w and m are known", d.Access)
	}
	return rule, nil
}

// alwaysAllowed are the devices that no configuration takes away: making nodes (not using them), the default
// devices, and terminals.
func alwaysAllowed() []*devices.Rule {
	char := func(major, minor int64, access devices.Permissions) *devices.Rule {
		return &devices.Rule{Type: devices.CharDevice, Major: major, Minor: minor, Permissions: access, Allow: true}
	}
	return []*devices.Rule{
		char(devices.Wildcard, devices.Wildcard, "m"),
		{Type: devices.BlockDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
		char(1, 3, "rwm"),                  // null
		char(1, 8, "rwm"),                  // random
		char(1, 7, "rwm"),                  // full
		char(5, 0, "rwm"),                  // tty
		char(1, 5, "rwm"),                  // zero
		char(1, 9, "rwm"),                  // urandom
		char(5, 1, "rwm"),                  // console
		char(136, devices.Wildcard, "rwm"), // pts/*
		char(5, 2, "rwm"),                  // ptmx
	}
}
