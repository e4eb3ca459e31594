package task

import (
	"context"
	"strconv"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
)

// Stats reads the counters of the container's cgroup, as the metrics of containerd/cgroups of the machine's version.
func (s *service) Stats(_ context.Context, r *taskapi.ContainerRequest) (*taskapi.StatsResponse, error) {
	c, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	group := c.Cgroup()
	if group == nil {
		return nil, errdefs.NotFound("container %s has no cgroup", r.ID)
	}
	stats, err := group.Stats()
	if err != nil {
		return nil, err
	}
	kills := c.oomKills()
	if cgroup.Unified() {
		return metricsOf(taskapi.TypeMetricsV2, metricsV2(stats, kills)), nil
	}
	return metricsOf(taskapi.TypeMetricsV1, metricsV1(stats, kills)), nil
}

func metricsOf(kind string, m wire.Message) *taskapi.StatsResponse {
	return &taskapi.StatsResponse{Stats: &wire.Any{TypeURL: kind, Value: wire.Marshal(m)}}
}

func metricsV1(s *cgroup.Stats, kills uint64) *taskapi.MetricsV1 {
	m := &taskapi.MetricsV1{
		Pids: &taskapi.PidsMetric{Current: s.PidsStats.Current, Limit: s.PidsStats.Limit},
		CPU: &taskapi.CPUV1{
			Usage: &taskapi.CPUUsageV1{
				Total: s.CpuStats.CpuUsage.TotalUsage, Kernel: s.CpuStats.CpuUsage.UsageInKernelmode,
				User: s.CpuStats.CpuUsage.UsageInUsermode, PerCPU: s.CpuStats.CpuUsage.PercpuUsage,
			},
			Throttling: &taskapi.ThrottleV1{
				Periods: s.CpuStats.ThrottlingData.Periods, ThrottledPeriods: s.CpuStats.ThrottlingData.ThrottledPeriods,
				ThrottledTime: s.CpuStats.ThrottlingData.ThrottledTime,
			},
		},
		Memory: &taskapi.MemoryV1{
			Stat: s.MemoryStats.Stats, Usage: memoryEntry(s.MemoryStats.Usage), Swap: memoryEntry(s.MemoryStats.SwapUsage),
			Kernel: memoryEntry(s.MemoryStats.KernelUsage), KernelTCP: memoryEntry(s.MemoryStats.KernelTCPUsage),
		},
		Blkio: &taskapi.BlkioV1{
			ServiceBytes: blkioEntries(s.BlkioStats.IoServiceBytesRecursive), Serviced: blkioEntries(s.BlkioStats.IoServicedRecursive),
		},
		MemoryOOMControl: &taskapi.OOMControlV1{Kills: kills},
	}
	for size, h := range s.HugetlbStats {
		m.Hugetlb = append(m.Hugetlb, &taskapi.HugetlbV1{Usage: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt, Pagesize: size})
	}
	return m
}

func memoryEntry(d cgroup.MemoryData) *taskapi.MemoryEntryV1 {
	return &taskapi.MemoryEntryV1{Limit: d.Limit, Usage: d.Usage, Max: d.MaxUsage, Failcnt: d.Failcnt}
}

func blkioEntries(list []cgroup.BlkioStatEntry) []*taskapi.BlkioEntryV1 {
	var entries []*taskapi.BlkioEntryV1
	for _, e := range list {
		entries = append(entries, &taskapi.BlkioEntryV1{
			Op: e.Op, Device: "/dev/block/" + strconv.FormatUint(e.Major, 10) + ":" + strconv.FormatUint(e.Minor, 10),
			Major: e.Major, Minor: e.Minor, Value: e.Value,
		})
	}
	return entries
}

func metricsV2(s *cgroup.Stats, kills uint64) *taskapi.MetricsV2 {
	const us = 1000
	m := &taskapi.MetricsV2{
		Pids: &taskapi.PidsMetric{Current: s.PidsStats.Current, Limit: s.PidsStats.Limit},
		CPU: &taskapi.CPUV2{
			Usage: s.CpuStats.CpuUsage.TotalUsage / us, User: s.CpuStats.CpuUsage.UsageInUsermode / us, System: s.CpuStats.CpuUsage.UsageInKernelmode / us,
			Periods: s.CpuStats.ThrottlingData.Periods, Throttled: s.CpuStats.ThrottlingData.ThrottledPeriods,
			ThrottledTime: s.CpuStats.ThrottlingData.ThrottledTime / us,
		},
		Memory: &taskapi.MemoryV2{
			Stat: s.MemoryStats.Stats, Usage: s.MemoryStats.Usage.Usage, UsageLimit: s.MemoryStats.Usage.Limit, MaxUsage: s.MemoryStats.Usage.MaxUsage,
			// Swap alone: the counters have memory and swap together.
			SwapUsage: s.MemoryStats.SwapUsage.Usage - min(s.MemoryStats.Usage.Usage, s.MemoryStats.SwapUsage.Usage),
		},
		MemoryEvents: &taskapi.MemoryEventsV2{OOMKill: kills},
	}
	m.IO = &taskapi.IOV2{Usage: ioEntries(s)}
	for size, h := range s.HugetlbStats {
		m.Hugetlb = append(m.Hugetlb, &taskapi.HugetlbV2{Current: h.Usage, Max: h.MaxUsage, Failcnt: h.Failcnt, Pagesize: size})
	}
	return m
}

// ioEntries gathers the counters of each device.
func ioEntries(s *cgroup.Stats) []*taskapi.IOEntryV2 {
	var list []*taskapi.IOEntryV2
	entry := func(e cgroup.BlkioStatEntry) *taskapi.IOEntryV2 {
		for _, known := range list {
			if known.Major == e.Major && known.Minor == e.Minor {
				return known
			}
		}
		list = append(list, &taskapi.IOEntryV2{Major: e.Major, Minor: e.Minor})
		return list[len(list)-1]
	}
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch e.Op {
		case "Read":
			entry(e).ReadBytes = e.Value
		case "Write":
			entry(e).WriteBytes = e.Value
		}
	}
	for _, e := range s.BlkioStats.IoServicedRecursive {
		switch e.Op {
		case "Read":
			entry(e).Reads = e.Value
		case "Write":
			entry(e).Writes = e.Value
		}
	}
	return list
}
