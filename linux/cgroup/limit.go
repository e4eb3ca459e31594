package cgroup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Limit is one control file that bounds what the group may use.
type Limit struct {
	File  string // "memory/memory.limit_in_bytes", "memory.max"
	Value string // as the kernel has it
	Text  string // in words
}

// limitFile is a file that may bound something; words is nil of its free values.
type limitFile struct {
	controller, name string
	words            func(g *Group, value string) string
}

// limitFiles in the order in which they are shown; v1's (cgroups v1 documentation) and v2's (cgroup-v2.rst) have different names.
var limitFiles = []limitFile{
	{"memory", "memory.limit_in_bytes", bytesOf("memory, at most %s")},
	{"memory", "memory.memsw.limit_in_bytes", bytesOf("memory and swap together, at most %s")},
	{"memory", "memory.soft_limit_in_bytes", bytesOf("memory beyond %s is taken back first when it is short")},
	{"cpu", "cpu.cfs_quota_us", quotaV1},
	{"cpu", "cpu.shares", weight("1024", "CPU: a weight of %s where 1024 is usual")},
	{"cpuset", "cpuset.cpus", part("cpuset", "cpuset.cpus", "CPUs %s")},
	{"cpuset", "cpuset.mems", part("cpuset", "cpuset.mems", "memory of NUMA nodes %s")},
	{"pids", "pids.max", count("tasks, at most %s")},
	{"blkio", "blkio.throttle.read_bps_device", plain("reads, bytes a second by device: %s")},
	{"blkio", "blkio.throttle.write_bps_device", plain("writes, bytes a second by device: %s")},
	{"blkio", "blkio.throttle.read_iops_device", plain("reads a second by device: %s")},
	{"blkio", "blkio.throttle.write_iops_device", plain("writes a second by device: %s")},
	{"freezer", "freezer.state", frozenWord},
	{"", "memory.max", bytesOf("memory, at most %s")},
	{"", "memory.high", bytesOf("memory, throttled beyond %s")},
	{"", "memory.swap.max", bytesOf("swap, at most %s")},
	{"", "cpu.max", quotaV2},
	{"", "cpu.weight", weight("100", "CPU: a weight of %s where 100 is usual")},
	{"", "cpuset.cpus", plain("CPUs %s")},
	{"", "pids.max", count("tasks, at most %s")},
	{"", "io.max", plain("devices: %s")},
	{"", "cgroup.freeze", func(_ *Group, v string) string { return map[string]string{"1": "all processes stand still"}[v] }},
}

// Limits reads the files that bound something; one that cannot be read is left out.
func (g *Group) Limits() []Limit {
	var out []Limit
	for _, f := range limitFiles {
		dir := g.paths[f.controller]
		if dir == "" {
			continue
		}
		value, err := read(dir, f.name)
		if err != nil {
			continue
		}
		value = strings.TrimSpace(value)
		if text := f.words(g, value); text != "" {
			out = append(out, Limit{File: filepath.Join(f.controller, f.name), Value: value, Text: text})
		}
	}
	return out
}

// unlimited is more than any machine has: v1 writes the greatest multiple of the page size.
const unlimited = 1 << 60

func bytesOf(format string) func(*Group, string) string {
	return func(_ *Group, value string) string {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n >= unlimited {
			return ""
		}
		return fmt.Sprintf(format, binary(n))
	}
}

// binary writes bytes with the largest unit that leaves at most two digits behind the point.
func binary(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".") + " " + units[i]
}

func plain(format string) func(*Group, string) string {
	return func(_ *Group, value string) string {
		if value == "" {
			return ""
		}
		return fmt.Sprintf(format, strings.ReplaceAll(value, "\n", "; "))
	}
}

// part is for sets that a v1 group must have: it says nothing when the group above has the same.
func part(controller, name, format string) func(*Group, string) string {
	return func(g *Group, value string) string {
		if above, err := read(filepath.Dir(g.paths[controller]), name); err == nil && strings.TrimSpace(above) == value {
			return ""
		}
		return plain(format)(g, value)
	}
}

func count(format string) func(*Group, string) string {
	return func(_ *Group, value string) string {
		if value == "max" {
			return ""
		}
		return fmt.Sprintf(format, value)
	}
}

func weight(usual, format string) func(*Group, string) string {
	return func(_ *Group, value string) string {
		if value == usual {
			return ""
		}
		return fmt.Sprintf(format, value)
	}
}

func quotaV1(g *Group, value string) string {
	period, err := read(g.paths["cpu"], "cpu.cfs_period_us")
	if err != nil {
		return ""
	}
	return quota(value, strings.TrimSpace(period))
}

func quotaV2(_ *Group, value string) string {
	limit, period, _ := strings.Cut(value, " ")
	return quota(limit, period)
}

func quota(limit, period string) string {
	q, err := strconv.ParseInt(limit, 10, 64)
	p, err2 := strconv.ParseInt(period, 10, 64)
	if err != nil || err2 != nil || q <= 0 || p <= 0 {
		return "" // "max" and -1 are none
	}
	return fmt.Sprintf("CPU: %g of one processor (%d of every %d µs)", float64(q)/float64(p), q, p)
}

func frozenWord(_ *Group, value string) string {
	if value == "THAWED" {
		return ""
	}
	return "all processes stand still (" + strings.ToLower(value) + ")"
}
