package cli

import (
	"encoding/json"

	"github.com/conex-containers/conex/linux/cgroup"
)

// statsData is what `events` says of a container, in the form of runc's package types: cadvisor and others read it.
type statsData struct {
	CPU        cpuData             `json:"cpu"`
	CPUSet     cgroup.CPUSetStats  `json:"cpuset"`
	Memory     memoryData          `json:"memory"`
	Pids       pidsData            `json:"pids"`
	Blkio      blkioData           `json:"blkio"`
	Huge       map[string]hugeData `json:"hugetlb"`
	Intel      struct{}            `json:"intel_rdt"`
	Interfaces []json.RawMessage   `json:"network_interfaces"`
}

type cpuData struct {
	Usage struct {
		Total        uint64   `json:"total,omitempty"`
		PerCPU       []uint64 `json:"percpu,omitempty"`
		PerCPUKernel []uint64 `json:"percpu_kernel,omitempty"`
		PerCPUUser   []uint64 `json:"percpu_user,omitempty"`
		Kernel       uint64   `json:"kernel"`
		User         uint64   `json:"user"`
	} `json:"usage,omitzero"`
	Throttling struct {
		Periods          uint64 `json:"periods,omitempty"`
		ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
		ThrottledTime    uint64 `json:"throttledTime,omitempty"`
	} `json:"throttling,omitzero"`
	PSI *cgroup.Pressure `json:"psi,omitempty"`
}

type memoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

type memoryData struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     memoryEntry       `json:"usage,omitzero"`
	Swap      memoryEntry       `json:"swap,omitzero"`
	Kernel    memoryEntry       `json:"kernel,omitzero"`
	KernelTCP memoryEntry       `json:"kernelTCP,omitzero"`
	Raw       map[string]uint64 `json:"raw,omitempty"`
	PSI       *cgroup.Pressure  `json:"psi,omitempty"`
}

type pidsData struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blkioData struct {
	Bytes   []cgroup.BlkioStatEntry `json:"ioServiceBytesRecursive,omitempty"`
	Count   []cgroup.BlkioStatEntry `json:"ioServicedRecursive,omitempty"`
	Queued  []cgroup.BlkioStatEntry `json:"ioQueueRecursive,omitempty"`
	Service []cgroup.BlkioStatEntry `json:"ioServiceTimeRecursive,omitempty"`
	Wait    []cgroup.BlkioStatEntry `json:"ioWaitTimeRecursive,omitempty"`
	Merged  []cgroup.BlkioStatEntry `json:"ioMergedRecursive,omitempty"`
	Time    []cgroup.BlkioStatEntry `json:"ioTimeRecursive,omitempty"`
	Sectors []cgroup.BlkioStatEntry `json:"sectorsRecursive,omitempty"`
	PSI     *cgroup.Pressure        `json:"psi,omitempty"`
}

type hugeData struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

func stats(s *cgroup.Stats) statsData {
	d := statsData{CPUSet: s.CPUSetStats, Huge: make(map[string]hugeData, len(s.HugetlbStats))}
	c := s.CpuStats
	d.CPU.Usage.Total, d.CPU.Usage.PerCPU = c.CpuUsage.TotalUsage, c.CpuUsage.PercpuUsage
	d.CPU.Usage.PerCPUKernel, d.CPU.Usage.PerCPUUser = c.CpuUsage.PercpuUsageInKernelmode, c.CpuUsage.PercpuUsageInUsermode
	d.CPU.Usage.Kernel, d.CPU.Usage.User = c.CpuUsage.UsageInKernelmode, c.CpuUsage.UsageInUsermode
	d.CPU.Throttling.Periods, d.CPU.Throttling.ThrottledPeriods = c.ThrottlingData.Periods, c.ThrottlingData.ThrottledPeriods
	d.CPU.Throttling.ThrottledTime, d.CPU.PSI = c.ThrottlingData.ThrottledTime, c.PSI
	m := s.MemoryStats
	d.Memory = memoryData{Cache: m.Cache, Usage: entry(m.Usage), Swap: entry(m.SwapUsage), Kernel: entry(m.KernelUsage),
		KernelTCP: entry(m.KernelTCPUsage), Raw: m.Stats, PSI: m.PSI}
	d.Pids = pidsData{s.PidsStats.Current, s.PidsStats.Limit}
	b := s.BlkioStats
	d.Blkio = blkioData{b.IoServiceBytesRecursive, b.IoServicedRecursive, b.IoQueuedRecursive, b.IoServiceTimeRecursive,
		b.IoWaitTimeRecursive, b.IoMergedRecursive, b.IoTimeRecursive, b.SectorsRecursive, b.PSI}
	for size, h := range s.HugetlbStats {
		d.Huge[size] = hugeData{h.Usage, h.MaxUsage, h.Failcnt}
	}
	return d
}

func entry(m cgroup.MemoryData) memoryEntry {
	return memoryEntry{m.Limit, m.Usage, m.MaxUsage, m.Failcnt}
}
