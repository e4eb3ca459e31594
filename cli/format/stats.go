package format

import (
	"fmt"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Stats is the table of `stats`.
func Stats() Table {
	return Table{
		Default: `{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}`,
		Quiet:   "{{.ID}}",
		Headers: map[string]string{
			"ID": "CONTAINER ID", "Container": "CONTAINER", "Name": "NAME", "CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT",
			"MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
		},
	}
}

// Sample is one row of `stats`: the numbers of one container.
type Sample struct {
	Ref     string // as the user named it
	Full    bool
	Valid   bool // false until the first sample came
	id      string
	name    string
	cpu     float64
	mem     float64
	limit   float64
	rx, tx  float64
	rd, wr  float64
	pids    uint64
	percent float64
}

// NewSample computes the row of one answer of the engine.
func NewSample(ref string, full bool, s container.StatsResponse) Sample {
	r := Sample{Ref: ref, Full: full, Valid: true, id: s.ID, name: s.Name, pids: s.PidsStats.Current}
	cpu := float64(s.CPUStats.CPUUsage.TotalUsage) - float64(s.PreCPUStats.CPUUsage.TotalUsage)
	system := float64(s.CPUStats.SystemUsage) - float64(s.PreCPUStats.SystemUsage)
	online := float64(s.CPUStats.OnlineCPUs)
	if online == 0 {
		online = float64(len(s.CPUStats.CPUUsage.PercpuUsage))
	}
	if system > 0 && cpu > 0 {
		r.cpu = cpu / system * online * 100
	}
	r.mem, r.limit = float64(usedMemory(s.MemoryStats)), float64(s.MemoryStats.Limit)
	if r.limit > 0 {
		r.percent = r.mem / r.limit * 100
	}
	for _, n := range s.Networks {
		r.rx += float64(n.RxBytes)
		r.tx += float64(n.TxBytes)
	}
	for _, b := range s.BlkioStats.IoServiceBytesRecursive {
		switch b.Op {
		case "Read", "read":
			r.rd += float64(b.Value)
		case "Write", "write":
			r.wr += float64(b.Value)
		}
	}
	return r
}

// usedMemory leaves out the page cache that the kernel would give back: total_inactive_file in cgroup v1,
// inactive_file in v2.
func usedMemory(m container.MemoryStats) uint64 {
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if v, ok := m.Stats[key]; ok && v < m.Usage {
			return m.Usage - v
		}
	}
	return m.Usage
}

// Container is the container as the user named it.
func (r Sample) Container() string { return r.Ref }

// ID is the short or full id.
func (r Sample) ID() string {
	if r.Full || r.id == "" {
		return r.id
	}
	return ShortID(r.id)
}

// Name is the container's name.
func (r Sample) Name() string {
	if len(r.name) > 1 {
		return r.name[1:]
	}
	return "--"
}

// CPUPerc is the share of one processor.
func (r Sample) CPUPerc() string { return r.value(fmt.Sprintf("%.2f%%", r.cpu)) }

// MemUsage is the memory in use and its limit.
func (r Sample) MemUsage() string {
	if !r.Valid {
		return "-- / --"
	}
	return units.BytesSize(r.mem) + " / " + units.BytesSize(r.limit)
}

// MemPerc is the memory in use as a part of its limit.
func (r Sample) MemPerc() string { return r.value(fmt.Sprintf("%.2f%%", r.percent)) }

// NetIO is what came in and went out.
func (r Sample) NetIO() string {
	return r.value(units.HumanSizeWithPrecision(r.rx, 3) + " / " + units.HumanSizeWithPrecision(r.tx, 3))
}

// BlockIO is what was read and written.
func (r Sample) BlockIO() string {
	return r.value(units.HumanSizeWithPrecision(r.rd, 3) + " / " + units.HumanSizeWithPrecision(r.wr, 3))
}

// PIDs counts the processes and threads.
func (r Sample) PIDs() string { return r.value(fmt.Sprint(r.pids)) }

func (r Sample) value(s string) string {
	if !r.Valid {
		return "--"
	}
	return s
}
