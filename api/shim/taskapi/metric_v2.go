package taskapi

import "github.com/conex-containers/conex/api/shim/wire"

// MetricsV2 are the counters of a group of cgroup v2.
type MetricsV2 struct {
	Pids         *PidsMetric
	CPU          *CPUV2
	Memory       *MemoryV2
	IO           *IOV2
	Hugetlb      []*HugetlbV2
	MemoryEvents *MemoryEventsV2
}

// Fields lists the message's fields.
func (m *MetricsV2) Fields(f *wire.Fields) {
	wire.Sub(f, 1, &m.Pids)
	wire.Sub(f, 2, &m.CPU)
	wire.Sub(f, 4, &m.Memory)
	wire.Sub(f, 6, &m.IO)
	wire.Subs(f, 7, &m.Hugetlb)
	wire.Sub(f, 8, &m.MemoryEvents)
}

// CPUV2 is processor time, in microseconds.
type CPUV2 struct{ Usage, User, System, Periods, Throttled, ThrottledTime uint64 }

// Fields lists the message's fields.
func (m *CPUV2) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Usage)
	f.Uint64(2, &m.User)
	f.Uint64(3, &m.System)
	f.Uint64(4, &m.Periods)
	f.Uint64(5, &m.Throttled)
	f.Uint64(6, &m.ThrottledTime)
}

// memoryKeysV2 are the fields 1 to 31 of the message, by their names in memory.stat.
var memoryKeysV2 = [...]string{
	"anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp",
	"inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable", "slab_unreclaimable",
	"pgfault", "pgmajfault", "workingset_refault", "workingset_activate", "workingset_nodereclaim", "pgrefill", "pgscan", "pgsteal",
	"pgactivate", "pgdeactivate", "pglazyfree", "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
}

// workingsetKeysV2 are the fields 39 to 42.
var workingsetKeysV2 = [...]string{
	"workingset_refault_anon", "workingset_refault_file", "workingset_activate_anon", "workingset_activate_file",
}

// MemoryV2 is memory in bytes; Stat is memory.stat as the kernel has it.
type MemoryV2 struct {
	Stat                                                       map[string]uint64
	Usage, UsageLimit, SwapUsage, SwapLimit, MaxUsage, SwapMax uint64
}

// Fields lists the message's fields.
func (m *MemoryV2) Fields(f *wire.Fields) {
	statFields(f, memoryKeysV2[:], 1, &m.Stat)
	f.Uint64(32, &m.Usage)
	f.Uint64(33, &m.UsageLimit)
	f.Uint64(34, &m.SwapUsage)
	f.Uint64(35, &m.SwapLimit)
	f.Uint64(36, &m.MaxUsage)
	f.Uint64(37, &m.SwapMax)
	statFields(f, workingsetKeysV2[:], 39, &m.Stat)
}

// IOV2 are bytes and operations of block devices.
type IOV2 struct{ Usage []*IOEntryV2 }

// Fields lists the message's fields.
func (m *IOV2) Fields(f *wire.Fields) { wire.Subs(f, 1, &m.Usage) }

// IOEntryV2 is one device.
type IOEntryV2 struct{ Major, Minor, ReadBytes, WriteBytes, Reads, Writes uint64 }

// Fields lists the message's fields.
func (m *IOEntryV2) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Major)
	f.Uint64(2, &m.Minor)
	f.Uint64(3, &m.ReadBytes)
	f.Uint64(4, &m.WriteBytes)
	f.Uint64(5, &m.Reads)
	f.Uint64(6, &m.Writes)
}

// HugetlbV2 are bytes of one page size.
type HugetlbV2 struct {
	Current, Max uint64
	Pagesize     string
	Failcnt      uint64
}

// Fields lists the message's fields.
func (m *HugetlbV2) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Current)
	f.Uint64(2, &m.Max)
	f.String(3, &m.Pagesize)
	f.Uint64(4, &m.Failcnt)
}

// MemoryEventsV2 counts what has happened for want of memory.
type MemoryEventsV2 struct{ Low, High, Max, OOM, OOMKill uint64 }

// Fields lists the message's fields.
func (m *MemoryEventsV2) Fields(f *wire.Fields) {
	f.Uint64(1, &m.Low)
	f.Uint64(2, &m.High)
	f.Uint64(3, &m.Max)
	f.Uint64(4, &m.OOM)
	f.Uint64(5, &m.OOMKill)
}
