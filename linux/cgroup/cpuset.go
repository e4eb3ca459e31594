package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// CPUSetStats are the settings of v1's cpuset controller.
type CPUSetStats struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

func cpusetStatsV1(dir string, s *Stats) error {
	c := &s.CPUSetStats
	for _, f := range []struct {
		name string
		to   *[]uint16
	}{{"cpuset.cpus", &c.CPUs}, {"cpuset.mems", &c.Mems}} {
		text, err := read(dir, f.name)
		if err != nil {
			return err
		}
		if *f.to, err = parseRanges(strings.TrimSpace(text)); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if err := numbers(dir, []field{{"cpuset.cpu_exclusive", &c.CPUExclusive}, {"cpuset.mem_hardwall", &c.MemHardwall},
		{"cpuset.mem_exclusive", &c.MemExclusive}, {"cpuset.memory_migrate", &c.MemoryMigrate},
		{"cpuset.memory_spread_page", &c.MemorySpreadPage}, {"cpuset.memory_spread_slab", &c.MemorySpreadSlab},
		{"cpuset.memory_pressure", &c.MemoryPressure}, {"cpuset.sched_load_balance", &c.SchedLoadBalance}}); err != nil {
		return err
	}
	text, err := read(dir, "cpuset.sched_relax_domain_level")
	if err != nil {
		return err
	}
	c.SchedRelaxDomainLevel, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return err
}

// parseRanges reads "0-2,4".
func parseRanges(text string) (out []uint16, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ok := strings.Cut(part, "-")
		low, err := strconv.ParseUint(from, 10, 16)
		if err != nil {
			return nil, err
		}
		high := low
		if ok {
			if high, err = strconv.ParseUint(to, 10, 16); err != nil {
				return nil, err
			}
		}
		for n := low; n <= high; n++ {
			out = append(out, uint16(n))
		}
	}
	return out, nil
}
