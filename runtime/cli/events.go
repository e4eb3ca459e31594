package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/pidfd"
)

// event is one line of `events`, in runc's form.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

type statsData struct {
	CPU    cpuData    `json:"cpu"`
	Memory memoryData `json:"memory"`
	Pids   pidsData   `json:"pids"`
	Blkio  any        `json:"blkio"`
	Huge   any        `json:"hugetlb"`
}

type cpuData struct {
	Usage struct {
		Total  uint64   `json:"total,omitempty"`
		PerCPU []uint64 `json:"percpu,omitempty"`
		Kernel uint64   `json:"kernel"`
		User   uint64   `json:"user"`
	} `json:"usage,omitempty"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling,omitempty"`
}

type memoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type memoryData struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryEntry       `json:"usage,omitempty"`
	Swap      memoryEntry       `json:"swap,omitempty"`
	Kernel    memoryEntry       `json:"kernel,omitempty"`
	KernelTCP memoryEntry       `json:"kernelTCP,omitempty"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
}

type pidsData struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

func stats(s *cgroup.Stats) statsData {
	var d statsData
	c := s.CpuStats
	d.CPU.Usage.Total, d.CPU.Usage.PerCPU = c.CpuUsage.TotalUsage, c.CpuUsage.PercpuUsage
	d.CPU.Usage.Kernel, d.CPU.Usage.User = c.CpuUsage.UsageInKernelmode, c.CpuUsage.UsageInUsermode
	d.CPU.Throttling.Periods, d.CPU.Throttling.ThrottledPeriods = c.ThrottlingData.Periods, c.ThrottlingData.ThrottledPeriods
	d.CPU.Throttling.ThrottledTime = c.ThrottlingData.ThrottledTime
	m := s.MemoryStats
	d.Memory.Cache, d.Memory.Raw = m.Cache, m.Stats
	d.Memory.Usage = memoryEntry{m.Usage.Limit, m.Usage.Usage, m.Usage.MaxUsage, m.Usage.Failcnt}
	d.Memory.Swap = memoryEntry{m.SwapUsage.Limit, m.SwapUsage.Usage, m.SwapUsage.MaxUsage, m.SwapUsage.Failcnt}
	d.Memory.Kernel = memoryEntry{m.KernelUsage.Limit, m.KernelUsage.Usage, m.KernelUsage.MaxUsage, m.KernelUsage.Failcnt}
	d.Memory.KernelTCP = memoryEntry{m.KernelTCPUsage.Limit, m.KernelTCPUsage.Usage, m.KernelTCPUsage.MaxUsage, m.KernelTCPUsage.Failcnt}
	d.Pids = pidsData{s.PidsStats.Current, s.PidsStats.Limit}
	d.Blkio, d.Huge = s.BlkioStats, s.HugetlbStats
	return d
}

// events prints the counters once, or every interval until the container ends, with an event for each look that
// found new victims of the out-of-memory killer.
func (a *app) events(ctx context.Context, c *call) (int, error) {
	every, err := time.ParseDuration(c.opt.interval)
	if err != nil || every <= 0 {
		return 1, errdefs.InvalidArgument("duration interval must be greater than 0")
	}
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	if made.Pidfd() < 0 || pidfd.Exited(made.Pidfd()) {
		return 1, errdefs.FailedPrecondition("container with id %s is not running", made.ID())
	}
	out := json.NewEncoder(a.stdout)
	var killed uint64
	for {
		s, err := made.Cgroup().Stats()
		if err != nil {
			return 1, err
		}
		if err := out.Encode(event{"stats", made.ID(), stats(s)}); err != nil || c.opt.stats {
			return 0, err
		}
		if n, err := made.Cgroup().OOMKills(); err == nil && n > killed {
			killed = n
			if err := out.Encode(event{Type: "oom", ID: made.ID()}); err != nil {
				return 1, err
			}
		}
		pause, cancel := context.WithTimeout(ctx, every)
		err = pidfd.Wait(pause, made.Pidfd())
		cancel()
		if err == nil {
			return 0, nil
		}
	}
}
