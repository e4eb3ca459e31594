package cli

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strconv"

	"github.com/docker/go-units"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// updates are the values of update's flags, as written.
type updates struct {
	blkioWeight, cpuPeriod, cpuQuota, cpuBurst, rtPeriod, rtRuntime, shares, cpus, mems, idle string
	memory, reservation, swap, pids, l3, memBW, kernel, kernelTCP                             string
}

func updateFlags(c *call) {
	u := &c.opt.update
	c.both(&c.opt.resources, "resources", "r", "", "path to the file containing the resources to update or '-' to read from the standard input")
	for _, f := range []struct {
		p           *string
		name, usage string
	}{
		{&u.blkioWeight, "blkio-weight", "specifies per cgroup weight, range is from 10 to 1000"},
		{&u.cpuPeriod, "cpu-period", "CPU CFS period to be used for hardcapping (in usecs)"},
		{&u.cpuQuota, "cpu-quota", "CPU CFS hardcap limit (in usecs)"},
		{&u.cpuBurst, "cpu-burst", "CPU CFS hardcap burst limit (in usecs)"},
		{&u.shares, "cpu-share", "CPU shares (relative weight vs. other containers)"},
		{&u.rtPeriod, "cpu-rt-period", "CPU realtime period (in usecs)"},
		{&u.rtRuntime, "cpu-rt-runtime", "CPU realtime hardcap limit (in usecs)"},
		{&u.cpus, "cpuset-cpus", "CPU(s) to use"},
		{&u.mems, "cpuset-mems", "memory node(s) to use"},
		{&u.idle, "cpu-idle", "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE"},
		{&u.memory, "memory", "memory limit (in bytes)"},
		{&u.reservation, "memory-reservation", "memory reservation or soft_limit (in bytes)"},
		{&u.kernel, "kernel-memory", "obsolete: no kernel has it any more"},
		{&u.kernelTCP, "kernel-memory-tcp", "obsolete: no kernel has it any more"},
		{&u.swap, "memory-swap", "total memory usage (memory + swap); set '-1' to enable unlimited swap"},
		{&u.pids, "pids-limit", "maximum number of pids allowed in the container"},
		{&u.l3, "l3-cache-schema", "the string of Intel RDT/CAT L3 cache schema"},
		{&u.memBW, "mem-bw-schema", "the string of Intel RDT/MBA memory bandwidth schema"},
	} {
		c.flags.StringVar(f.p, f.name, "", f.usage)
	}
}

func (a *app) update(ctx context.Context, c *call) (int, error) {
	r, err := a.updateResources(c)
	if err != nil {
		return 1, err
	}
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	if c.opt.update.kernel != "" || c.opt.update.kernelTCP != "" {
		logging.From(ctx).Warn("Kernel memory settings are ignored and will be removed")
	}
	if u := c.opt.update; u.l3 != "" || u.memBW != "" {
		if err := made.UpdateIntelRdt(ctx, u.l3, u.memBW); err != nil {
			return 1, err
		}
	}
	return 0, made.Update(ctx, r)
}

func (a *app) updateResources(c *call) (*specs.LinuxResources, error) {
	if c.opt.resources == "" {
		return c.opt.update.resources()
	}
	var in io.Reader = a.stdin
	if c.opt.resources != "-" {
		f, err := os.Open(c.opt.resources)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	r := &specs.LinuxResources{}
	if err := json.NewDecoder(in).Decode(r); err != nil {
		return nil, errdefs.InvalidArgument("--resources: %w", err)
	}
	r.Devices = nil // never by an update: somebody may have given the container more (GPU plugins)
	return r, nil
}

// numbers reads flags into the specification's pointers; the first error stays.
type numbers struct{ err error }

func (n *numbers) signed(name, s string) *int64 {
	if s == "" || n.err != nil {
		return nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n.err = errdefs.InvalidArgument("invalid value for --%s: %w", name, err)
		return nil
	}
	return &v
}

func (n *numbers) unsigned(name, s string) *uint64 {
	if s == "" || n.err != nil {
		return nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		n.err = errdefs.InvalidArgument("invalid value for --%s: %w", name, err)
		return nil
	}
	return &v
}

// bytes reads a size with a unit ("64m"), or -1.
func (n *numbers) bytes(name, s string) *int64 {
	if s == "" || s == "-1" || n.err != nil {
		return n.signed(name, s)
	}
	v, err := units.RAMInBytes(s)
	if err != nil {
		n.err = errdefs.InvalidArgument("invalid value for --%s: %w", name, err)
		return nil
	}
	return &v
}

func (u *updates) resources() (*specs.LinuxResources, error) {
	var n numbers
	r := &specs.LinuxResources{
		CPU: &specs.LinuxCPU{Shares: n.unsigned("cpu-share", u.shares), Quota: n.signed("cpu-quota", u.cpuQuota),
			Burst: n.unsigned("cpu-burst", u.cpuBurst), Period: n.unsigned("cpu-period", u.cpuPeriod),
			RealtimeRuntime: n.signed("cpu-rt-runtime", u.rtRuntime), RealtimePeriod: n.unsigned("cpu-rt-period", u.rtPeriod),
			Cpus: u.cpus, Mems: u.mems, Idle: n.signed("cpu-idle", u.idle)},
		Memory: &specs.LinuxMemory{Limit: n.bytes("memory", u.memory), Reservation: n.bytes("memory-reservation", u.reservation),
			Swap: n.bytes("memory-swap", u.swap)},
	}
	if limit := n.signed("pids-limit", u.pids); limit != nil {
		r.Pids = &specs.LinuxPids{Limit: limit}
	}
	if w := n.unsigned("blkio-weight", u.blkioWeight); w != nil {
		if *w > 1000 {
			return nil, errdefs.InvalidArgument("invalid value for --blkio-weight: %d is above 1000", *w)
		}
		weight := uint16(*w)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &weight}
	}
	return r, n.err
}
