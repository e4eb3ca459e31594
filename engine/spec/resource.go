package spec

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// cpuPeriod is the period that --cpus counts in, microseconds.
const cpuPeriod = 100000

func setResources(in *Input, s *specs.Spec) error {
	hc := in.HostConfig
	r, err := Resources(&hc.Resources, in.Host)
	if err != nil {
		return err
	}
	if err := setDevices(in, s, r); err != nil {
		return err
	}
	s.Linux.Resources = r
	return nil
}

// Resources are the cgroup limits of a container without its device rules; also what an update of a running
// container passes to the runtime.
func Resources(r *container.Resources, h Host) (*specs.LinuxResources, error) {
	out := &specs.LinuxResources{Memory: memory(r, h), CPU: cpu(r)}
	if r.PidsLimit != nil && *r.PidsLimit != 0 {
		limit := *r.PidsLimit
		if limit < 0 {
			limit = -1
		}
		out.Pids = &specs.LinuxPids{Limit: &limit}
	}
	var err error
	if out.BlockIO, err = blockIO(r); err != nil {
		return nil, err
	}
	return out, nil
}

func memory(r *container.Resources, h Host) *specs.LinuxMemory {
	var m specs.LinuxMemory
	set := false
	if r.Memory > 0 {
		m.Limit, set = number(r.Memory), true
	}
	if r.MemoryReservation > 0 {
		m.Reservation, set = number(r.MemoryReservation), true
	}
	swap := r.MemorySwap
	if swap == 0 && r.Memory > 0 {
		swap = 2 * r.Memory
	}
	if swap != 0 && h.SwapLimit {
		m.Swap, set = number(swap), true
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 && !h.CgroupV2 {
		n := uint64(*r.MemorySwappiness)
		m.Swappiness, set = &n, true
	}
	if r.OomKillDisable != nil && *r.OomKillDisable && !h.CgroupV2 {
		m.DisableOOMKiller, set = r.OomKillDisable, true
	}
	if !set {
		return nil
	}
	return &m
}

func cpu(r *container.Resources) *specs.LinuxCPU {
	c := specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
	if r.CPUShares != 0 {
		n := uint64(max(r.CPUShares, 2))
		c.Shares = &n
	}
	if r.NanoCPUs > 0 {
		period := uint64(cpuPeriod)
		c.Period, c.Quota = &period, number(r.NanoCPUs*cpuPeriod/1e9)
	}
	if r.CPUPeriod != 0 {
		n := uint64(r.CPUPeriod)
		c.Period = &n
	}
	if r.CPUQuota != 0 {
		c.Quota = number(r.CPUQuota)
	}
	if r.CPURealtimePeriod != 0 {
		n := uint64(r.CPURealtimePeriod)
		c.RealtimePeriod = &n
	}
	if r.CPURealtimeRuntime != 0 {
		c.RealtimeRuntime = number(r.CPURealtimeRuntime)
	}
	if c == (specs.LinuxCPU{}) {
		return nil
	}
	return &c
}

func blockIO(r *container.Resources) (*specs.LinuxBlockIO, error) {
	var b specs.LinuxBlockIO
	set := false
	if r.BlkioWeight != 0 {
		w := r.BlkioWeight
		b.Weight, set = &w, true
	}
	for _, d := range r.BlkioWeightDevice {
		major, minor, err := blockDevice(d.Path)
		if err != nil {
			return nil, err
		}
		w := d.Weight
		wd := specs.LinuxWeightDevice{Weight: &w}
		wd.Major, wd.Minor = major, minor
		b.WeightDevice, set = append(b.WeightDevice, wd), true
	}
	for _, t := range []struct {
		from []*blkiodev.ThrottleDevice
		to   *[]specs.LinuxThrottleDevice
	}{
		{r.BlkioDeviceReadBps, &b.ThrottleReadBpsDevice}, {r.BlkioDeviceWriteBps, &b.ThrottleWriteBpsDevice},
		{r.BlkioDeviceReadIOps, &b.ThrottleReadIOPSDevice}, {r.BlkioDeviceWriteIOps, &b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			major, minor, err := blockDevice(d.Path)
			if err != nil {
				return nil, err
			}
			td := specs.LinuxThrottleDevice{Rate: d.Rate}
			td.Major, td.Minor = major, minor
			*t.to, set = append(*t.to, td), true
		}
	}
	if !set {
		return nil, nil
	}
	return &b, nil
}

func setDevices(in *Input, s *specs.Spec, r *specs.LinuxResources) error {
	if in.HostConfig.Privileged {
		s.Linux.Devices = append([]specs.LinuxDevice{}, in.Host.Devices...)
		r.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		for _, d := range in.Devices {
			if !hasDevice(s.Linux.Devices, d.Path) {
				s.Linux.Devices = append(s.Linux.Devices, d)
			}
		}
		return nil
	}
	s.Linux.Devices = in.Devices
	r.Devices = append(defaultDeviceRules(), in.DeviceRule...)
	for _, text := range in.HostConfig.DeviceCgroupRules {
		rule, err := ParseDeviceRule(text)
		if err != nil {
			return err
		}
		r.Devices = append(r.Devices, rule)
	}
	return nil
}

func hasDevice(all []specs.LinuxDevice, path string) bool {
	for _, d := range all {
		if d.Path == path {
			return true
		}
	}
	return false
}

// ParseDeviceRule reads "type major:minor access", as --device-cgroup-rule has it: "c 10:* rwm".
func ParseDeviceRule(text string) (specs.LinuxDeviceCgroup, error) {
	bad := errdefs.InvalidArgument("invalid device cgroup rule format: '%s'", text)
	f := strings.Fields(text)
	if len(f) != 3 || (f[0] != "a" && f[0] != "b" && f[0] != "c") {
		return specs.LinuxDeviceCgroup{}, bad
	}
	majorText, minorText, ok := strings.Cut(f[1], ":")
	major, err1 := deviceNumber(majorText)
	minor, err2 := deviceNumber(minorText)
	if !ok || err1 != nil || err2 != nil || f[2] == "" || len(f[2]) > 3 || strings.Trim(f[2], "rwm") != "" {
		return specs.LinuxDeviceCgroup{}, bad
	}
	return specs.LinuxDeviceCgroup{Allow: true, Type: f[0], Major: major, Minor: minor, Access: f[2]}, nil
}

func deviceNumber(s string) (*int64, error) {
	if s == "*" {
		return number(-1), nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("device number %q", s)
	}
	return &n, nil
}

// CleanMountTarget checks a mount's destination: absolute, and not the root.
func CleanMountTarget(p string) (string, error) {
	if !filepath.IsAbs(p) {
		return "", errdefs.InvalidArgument("invalid mount path: '%s' mount path must be absolute", p)
	}
	p = filepath.Clean(p)
	if p == "/" {
		return "", errdefs.InvalidArgument("invalid specification: destination can't be '/'")
	}
	return p, nil
}
