package cgroup

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// Stats are the controllers' counters: bytes, nanoseconds, counts. Their JSON is that of runc's library.
type Stats struct {
	CpuStats     CPUStats                `json:"cpu_stats,omitzero"`
	CPUSetStats  CPUSetStats             `json:"cpuset_stats,omitzero"` // v1's alone
	MemoryStats  MemoryStats             `json:"memory_stats,omitzero"`
	PidsStats    PidsStats               `json:"pids_stats,omitzero"`
	BlkioStats   BlkioStats              `json:"blkio_stats,omitzero"`
	HugetlbStats map[string]HugetlbStats `json:"hugetlb_stats,omitzero"` // by page size: "2MB"
}

// CPUStats are the processor time that the group has had, and has been kept from.
type CPUStats struct {
	CpuUsage       CPUUsage       `json:"cpu_usage,omitzero"`
	ThrottlingData ThrottlingData `json:"throttling_data,omitzero"`
	PSI            *Pressure      `json:"psi,omitempty"`
}

// CPUUsage is in nanoseconds; what is told by processor is v1's alone.
type CPUUsage struct {
	TotalUsage              uint64   `json:"total_usage,omitzero"`
	PercpuUsage             []uint64 `json:"percpu_usage,omitzero"`
	PercpuUsageInKernelmode []uint64 `json:"percpu_usage_in_kernelmode,omitzero"`
	PercpuUsageInUsermode   []uint64 `json:"percpu_usage_in_usermode,omitzero"`
	UsageInKernelmode       uint64   `json:"usage_in_kernelmode"`
	UsageInUsermode         uint64   `json:"usage_in_usermode"`
}

// ThrottlingData counts the periods of a quota; the time is in nanoseconds.
type ThrottlingData struct {
	Periods          uint64 `json:"periods,omitzero"`
	ThrottledPeriods uint64 `json:"throttled_periods,omitzero"`
	ThrottledTime    uint64 `json:"throttled_time,omitzero"`
}

// MemoryStats are in bytes; Stats is memory.stat as the kernel has it.
type MemoryStats struct {
	Cache          uint64            `json:"cache,omitzero"`
	Usage          MemoryData        `json:"usage,omitzero"`
	SwapUsage      MemoryData        `json:"swap_usage,omitzero"` // memory and swap together
	KernelUsage    MemoryData        `json:"kernel_usage,omitzero"`
	KernelTCPUsage MemoryData        `json:"kernel_tcp_usage,omitzero"`
	Stats          map[string]uint64 `json:"stats,omitzero"`
	PSI            *Pressure         `json:"psi,omitempty"`
}

// MemoryData is one account. Without a limit Limit is a very great number.
type MemoryData struct {
	Usage    uint64 `json:"usage,omitzero"`
	MaxUsage uint64 `json:"max_usage,omitzero"`
	Failcnt  uint64 `json:"failcnt"`
	Limit    uint64 `json:"limit"`
}

// PidsStats count tasks; a Limit of 0 is none.
type PidsStats struct {
	Current uint64 `json:"current,omitzero"`
	Limit   uint64 `json:"limit,omitzero"`
}

// BlkioStats are bytes and operations by device and kind ("Read", "Write", ...). What comes after them, v1's BFQ counts only
// with CONFIG_BFQ_CGROUP_DEBUG: nanoseconds waited and served, requests queued and merged, milliseconds, sectors.
type BlkioStats struct {
	IoServiceBytesRecursive []BlkioStatEntry `json:"io_service_bytes_recursive,omitzero"`
	IoServicedRecursive     []BlkioStatEntry `json:"io_serviced_recursive,omitzero"`
	IoQueuedRecursive       []BlkioStatEntry `json:"io_queue_recursive,omitzero"`
	IoServiceTimeRecursive  []BlkioStatEntry `json:"io_service_time_recursive,omitzero"`
	IoWaitTimeRecursive     []BlkioStatEntry `json:"io_wait_time_recursive,omitzero"`
	IoMergedRecursive       []BlkioStatEntry `json:"io_merged_recursive,omitzero"`
	IoTimeRecursive         []BlkioStatEntry `json:"io_time_recursive,omitzero"`
	SectorsRecursive        []BlkioStatEntry `json:"sectors_recursive,omitzero"`
	PSI                     *Pressure        `json:"psi,omitempty"`
}

// BlkioStatEntry is one counter of one device.
type BlkioStatEntry struct {
	Major uint64 `json:"major,omitzero"`
	Minor uint64 `json:"minor,omitzero"`
	Op    string `json:"op,omitzero"`
	Value uint64 `json:"value,omitzero"`
}

// HugetlbStats are in bytes; Failcnt counts refused allocations.
type HugetlbStats struct {
	Usage    uint64 `json:"usage,omitzero"`
	MaxUsage uint64 `json:"max_usage,omitzero"`
	Failcnt  uint64 `json:"failcnt"`
}

// Stats reads all counters. A controller that the group does not have leaves its part empty.
func (g *Group) Stats() (*Stats, error) {
	s := &Stats{HugetlbStats: make(map[string]HugetlbStats)}
	type part struct {
		controller string
		fill       func(dir string, s *Stats) error
	}
	parts := []part{{"cpu", throttlingV1}, {"cpuacct", usageV1}, {"cpuset", cpusetStatsV1}, {"memory", memoryStatsV1},
		{"pids", pidsStats}, {"blkio", blkioStatsV1}, {"hugetlb", hugetlbStatsV1}}
	if Unified() {
		parts = []part{{"", cpuStatsV2}, {"", memoryStatsV2}, {"", pidsStats}, {"", ioStatsV2}, {"", hugetlbStatsV2}, {"", pressure}}
	}
	for _, p := range parts {
		dir := g.paths[p.controller]
		if dir == "" {
			continue
		}
		if err := p.fill(dir, s); err != nil && !missing(err) {
			return nil, fmt.Errorf("cgroup: read counters: %w", err)
		}
	}
	return s, nil
}

// numbers reads files into their fields. A file that is missing leaves its field as it is.
func numbers(dir string, files []struct {
	name string
	to   *uint64
}) error {
	for _, f := range files {
		n, err := readUint(dir, f.name)
		if missing(err) {
			continue
		}
		if err != nil {
			return err
		}
		*f.to = n
	}
	return nil
}

type field = struct {
	name string
	to   *uint64
}

func pidsStats(dir string, s *Stats) error {
	if err := numbers(dir, []field{{"pids.current", &s.PidsStats.Current}, {"pids.max", &s.PidsStats.Limit}}); err != nil {
		return err
	}
	if s.PidsStats.Limit == math.MaxUint64 {
		s.PidsStats.Limit = 0
	}
	return nil
}

// ticks are a second's in cpuacct.stat (USER_HZ).
const nanosPerTick = 1e9 / 100

func throttlingV1(dir string, s *Stats) error {
	keys, err := readKeys(dir, "cpu.stat")
	if err != nil {
		return err
	}
	s.CpuStats.ThrottlingData = ThrottlingData{keys["nr_periods"], keys["nr_throttled"], keys["throttled_time"]}
	return nil
}

func usageV1(dir string, s *Stats) error {
	u := &s.CpuStats.CpuUsage
	keys, err := readKeys(dir, "cpuacct.stat")
	if err != nil {
		return err
	}
	u.UsageInUsermode, u.UsageInKernelmode = keys["user"]*nanosPerTick, keys["system"]*nanosPerTick
	if u.TotalUsage, err = readUint(dir, "cpuacct.usage"); err != nil {
		return err
	}
	each, err := read(dir, "cpuacct.usage_percpu")
	if err != nil {
		return err
	}
	for value := range strings.FieldsSeq(each) {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return fmt.Errorf("cpuacct.usage_percpu: %w", err)
		}
		u.PercpuUsage = append(u.PercpuUsage, n)
	}
	return usageByMode(dir, u)
}

// usageByMode reads cpuacct.usage_all (Linux 4.7): a heading, then lines "processor user system" in nanoseconds.
func usageByMode(dir string, u *CPUUsage) error {
	text, err := read(dir, "cpuacct.usage_all")
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "cpu" {
			continue
		}
		user, e1 := strconv.ParseUint(f[1], 10, 64)
		system, e2 := strconv.ParseUint(f[2], 10, 64)
		if e1 != nil || e2 != nil {
			return fmt.Errorf("cpuacct.usage_all: line %q", line)
		}
		u.PercpuUsageInUsermode = append(u.PercpuUsageInUsermode, user)
		u.PercpuUsageInKernelmode = append(u.PercpuUsageInKernelmode, system)
	}
	return nil
}

func memoryStatsV1(dir string, s *Stats) (err error) {
	m := &s.MemoryStats
	if m.Stats, err = readKeys(dir, "memory.stat"); err != nil {
		return err
	}
	m.Cache = m.Stats["cache"]
	for prefix, d := range map[string]*MemoryData{"memory": &m.Usage, "memory.memsw": &m.SwapUsage, "memory.kmem": &m.KernelUsage,
		"memory.kmem.tcp": &m.KernelTCPUsage} {
		if err := numbers(dir, []field{{prefix + ".usage_in_bytes", &d.Usage}, {prefix + ".max_usage_in_bytes", &d.MaxUsage},
			{prefix + ".failcnt", &d.Failcnt}, {prefix + ".limit_in_bytes", &d.Limit}}); err != nil {
			return err
		}
	}
	return nil
}

// blkioStatsV1 reads the first pair of files that this kernel and I/O scheduler keep.
func blkioStatsV1(dir string, s *Stats) error {
	for _, prefix := range []string{"blkio.bfq.", "blkio.", "blkio.throttle."} {
		for _, suffix := range []string{"_recursive", ""} {
			bytes, err := blkioEntries(dir, prefix+"io_service_bytes"+suffix)
			if missing(err) || err == nil && len(bytes) == 0 {
				continue
			}
			if err != nil {
				return err
			}
			s.BlkioStats.IoServiceBytesRecursive = bytes
			if s.BlkioStats.IoServicedRecursive, err = blkioEntries(dir, prefix+"io_serviced"+suffix); err != nil {
				return err
			}
			return blkioDetails(dir, prefix, suffix, &s.BlkioStats)
		}
	}
	return nil
}

// blkioDetails reads what only some kernels count.
func blkioDetails(dir, prefix, suffix string, b *BlkioStats) error {
	for _, f := range []struct {
		name string
		to   *[]BlkioStatEntry
	}{
		{"io_queued", &b.IoQueuedRecursive}, {"io_service_time", &b.IoServiceTimeRecursive}, {"io_wait_time", &b.IoWaitTimeRecursive},
		{"io_merged", &b.IoMergedRecursive}, {"time", &b.IoTimeRecursive}, {"sectors", &b.SectorsRecursive},
	} {
		list, err := blkioEntries(dir, prefix+f.name+suffix)
		if err != nil && !missing(err) {
			return err
		}
		*f.to = list
	}
	return nil
}

// blkioEntries reads lines "8:0 Read 1282048"; the sum over all devices ("Total 3477504") is not one.
func blkioEntries(dir, name string) (out []BlkioStatEntry, err error) {
	text, err := read(dir, name)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] != "Total" {
			f = []string{f[0], "", f[1]} // a counter without kinds
		}
		if len(f) != 3 {
			continue
		}
		var e BlkioStatEntry
		if e.Major, e.Minor, err = deviceNumbers(f[0]); err != nil {
			return nil, err
		}
		e.Op = f[1]
		if e.Value, err = strconv.ParseUint(f[2], 10, 64); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func deviceNumbers(s string) (major, minor uint64, err error) {
	a, b, _ := strings.Cut(s, ":")
	if major, err = strconv.ParseUint(a, 10, 32); err == nil {
		minor, err = strconv.ParseUint(b, 10, 32)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("device %q: %w", s, err)
	}
	return major, minor, nil
}

func hugetlbStatsV1(dir string, s *Stats) error {
	return eachPageSize(dir, ".usage_in_bytes", func(size string) error {
		var h HugetlbStats
		err := numbers(dir, []field{{"hugetlb." + size + ".usage_in_bytes", &h.Usage},
			{"hugetlb." + size + ".max_usage_in_bytes", &h.MaxUsage}, {"hugetlb." + size + ".failcnt", &h.Failcnt}})
		s.HugetlbStats[size] = h
		return err
	})
}

// eachPageSize calls do for the sizes that the group has files of: "hugetlb.2MB" + suffix.
func eachPageSize(dir, suffix string, do func(size string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), "hugetlb.")
		size, last := strings.CutSuffix(name, suffix)
		if !ok || !last || strings.Contains(size, ".") {
			continue
		}
		if err := do(size); err != nil {
			return err
		}
	}
	return nil
}

func cpuStatsV2(dir string, s *Stats) error {
	keys, err := readKeys(dir, "cpu.stat")
	if err != nil {
		return err
	}
	const micro = 1000
	s.CpuStats.CpuUsage = CPUUsage{TotalUsage: keys["usage_usec"] * micro, UsageInKernelmode: keys["system_usec"] * micro,
		UsageInUsermode: keys["user_usec"] * micro}
	s.CpuStats.ThrottlingData = ThrottlingData{keys["nr_periods"], keys["nr_throttled"], keys["throttled_usec"] * micro}
	return nil
}

func memoryStatsV2(dir string, s *Stats) (err error) {
	m := &s.MemoryStats
	if m.Stats, err = readKeys(dir, "memory.stat"); err != nil {
		return err
	}
	m.Cache = m.Stats["file"]
	u, w := &m.Usage, &m.SwapUsage
	if err := numbers(dir, []field{{"memory.current", &u.Usage}, {"memory.peak", &u.MaxUsage}, {"memory.max", &u.Limit},
		{"memory.swap.current", &w.Usage}, {"memory.swap.max", &w.Limit}}); err != nil {
		return err
	}
	// Like v1's account of both.
	w.Usage += u.Usage
	if w.Limit > math.MaxUint64-u.Limit {
		w.Limit = math.MaxUint64
	} else {
		w.Limit += u.Limit
	}
	events, err := readKeys(dir, "memory.events")
	u.Failcnt = events["max"]
	return err
}

// ioStatsV2 reads lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..." into v1's form.
func ioStatsV2(dir string, s *Stats) error {
	text, err := read(dir, "io.stat")
	if err != nil {
		return err
	}
	b := &s.BlkioStats
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		major, minor, err := deviceNumbers(f[0])
		if err != nil {
			return err
		}
		for _, item := range f[1:] {
			key, text, _ := strings.Cut(item, "=")
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				continue // a key of another kind
			}
			switch key {
			case "rbytes":
				b.IoServiceBytesRecursive = append(b.IoServiceBytesRecursive, BlkioStatEntry{major, minor, "Read", n})
			case "wbytes":
				b.IoServiceBytesRecursive = append(b.IoServiceBytesRecursive, BlkioStatEntry{major, minor, "Write", n})
			case "rios":
				b.IoServicedRecursive = append(b.IoServicedRecursive, BlkioStatEntry{major, minor, "Read", n})
			case "wios":
				b.IoServicedRecursive = append(b.IoServicedRecursive, BlkioStatEntry{major, minor, "Write", n})
			}
		}
	}
	return nil
}

func hugetlbStatsV2(dir string, s *Stats) error {
	return eachPageSize(dir, ".current", func(size string) error {
		usage, err := readUint(dir, "hugetlb."+size+".current")
		if err != nil {
			return err
		}
		events, err := readKeys(dir, "hugetlb."+size+".events")
		s.HugetlbStats[size] = HugetlbStats{Usage: usage, Failcnt: events["max"]}
		return err
	})
}
