package taskapi

import "github.com/conex-containers/conex/api/shim/wire"

// Types of StatsResponse.Stats, by the version of the machine's control groups (containerd/cgroups, metrics.proto).
const (
	TypeMetricsV1 = "io.containerd.cgroups.v1.Metrics"
	TypeMetricsV2 = "io.containerd.cgroups.v2.Metrics"
)

// MetricsV1 are the counters of a group of cgroup v1.
type MetricsV1 struct {
	Hugetlb          []*HugetlbV1
	Pids             *PidsMetric
	CPU              *CPUV1
	Memory           *MemoryV1
	Blkio            *BlkioV1
	MemoryOOMControl *OOMControlV1
}

// Fields lists the message's fields.
func (m *MetricsV1) Fields(f *wire.Fields) {
	wire.Subs(f, 1, &m.Hugetlb)
	wire.Sub(f, 2, &m.Pids)
	wire.Sub(f, 3, &m.CPU)
	wire.Sub(f, 4, &m.Memory)
	wire.Sub(f, 5, &m.Blkio)
	wire.Sub(f, 9, &m.MemoryOOMControl)
}

// HugetlbV1 are bytes of one page size.
type HugetlbV1 struct {
	Usage, Max, Failcnt uint64
	Pagesize            string
}

// Fields lists the message's fields.
func (m *HugetlbV1) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Usage)
	f.Uint64(2, &m.Max)
	f.Uint64(3, &m.Failcnt)
	f.String(4, &m.Pagesize)
}

// PidsMetric counts tasks, in both versions.
type PidsMetric struct{ Current, Limit uint64 }

// Fields lists the message's fields.
func (m *PidsMetric) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Current)
	f.Uint64(2, &m.Limit)
}

// CPUV1 is processor time, in nanoseconds.
type CPUV1 struct {
	Usage      *CPUUsageV1
	Throttling *ThrottleV1
}

// Fields lists the message's fields.
func (m *CPUV1) Fields(f *wire.Fields) {
	wire.Sub(f, 1, &m.Usage)
	wire.Sub(f, 2, &m.Throttling)
}

// CPUUsageV1 is processor time that was had.
type CPUUsageV1 struct {
	Total, Kernel, User uint64
	PerCPU              []uint64
}

// Fields lists the message's fields.
func (m *CPUUsageV1) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Total)
	f.Uint64(2, &m.Kernel)
	f.Uint64(3, &m.User)
	f.Uint64s(4, &m.PerCPU)
}

// ThrottleV1 is processor time that was refused.
type ThrottleV1 struct{ Periods, ThrottledPeriods, ThrottledTime uint64 }

// Fields lists the message's fields.
func (m *ThrottleV1) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Periods)
	f.Uint64(2, &m.ThrottledPeriods)
	f.Uint64(3, &m.ThrottledTime)
}

// memoryKeysV1 are the fields 1 to 32 of the message, by their names in memory.stat.
var memoryKeysV1 = [...]string{
	"cache", "rss", "rss_huge", "mapped_file", "dirty", "writeback", "pgpgin", "pgpgout", "pgfault", "pgmajfault",
	"inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "hierarchical_memory_limit", "hierarchical_memsw_limit",
	"total_cache", "total_rss", "total_rss_huge", "total_mapped_file", "total_dirty", "total_writeback", "total_pgpgin", "total_pgpgout",
	"total_pgfault", "total_pgmajfault", "total_inactive_anon", "total_active_anon", "total_inactive_file", "total_active_file", "total_unevictable",
}

// MemoryV1 is memory in bytes; Stat is memory.stat as the kernel has it.
type MemoryV1 struct {
	Stat                           map[string]uint64
	Usage, Swap, Kernel, KernelTCP *MemoryEntryV1
}

// Fields lists the message's fields.
func (m *MemoryV1) Fields(f *wire.Fields) {
	statFields(f, memoryKeysV1[:], 1, &m.Stat)
	wire.Sub(f, 33, &m.Usage)
	wire.Sub(f, 34, &m.Swap)
	wire.Sub(f, 35, &m.Kernel)
	wire.Sub(f, 36, &m.KernelTCP)
}

// statFields are the fields from a number on, one for each key; "" leaves its number out.
func statFields(f *wire.Fields, keys []string, from int, stat *map[string]uint64) {
	for i, key := range keys {
		if key == "" {
			continue
		}
		before := (*stat)[key]
		v := before
		if f.Uint64(from+i, &v); v != before {
			if *stat == nil {
				*stat = make(map[string]uint64)
			}
			(*stat)[key] = v
		}
	}
}

// MemoryEntryV1 is one account of memory.
type MemoryEntryV1 struct{ Limit, Usage, Max, Failcnt uint64 }

// Fields lists the message's fields.
func (m *MemoryEntryV1) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Limit)
	f.Uint64(2, &m.Usage)
	f.Uint64(3, &m.Max)
	f.Uint64(4, &m.Failcnt)
}

// BlkioV1 are bytes and operations of block devices.
type BlkioV1 struct{ ServiceBytes, Serviced []*BlkioEntryV1 }

// Fields lists the message's fields.
func (m *BlkioV1) Fields(f *wire.Fields) {
	wire.Subs(f, 1, &m.ServiceBytes)
	wire.Subs(f, 2, &m.Serviced)
}

// BlkioEntryV1 is one counter of one device.
type BlkioEntryV1 struct {
	Op, Device          string
	Major, Minor, Value uint64
}

// Fields lists the message's fields.
func (m *BlkioEntryV1) Fields(f *wire.Fields) {
	f.String(1, &m.Op)
	f.String(2, &m.Device)
	f.Uint64(3, &m.Major)
	f.Uint64(4, &m.Minor)
	f.Uint64(5, &m.Value)
}

// OOMControlV1 counts kills for want of memory.
type OOMControlV1 struct{ Disable, UnderOOM, Kills uint64 }

// Fields lists the message's fields.
func (m *OOMControlV1) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Disable)
	f.Uint64(2, &m.UnderOOM)
	f.Uint64(3, &m.Kills)
}
