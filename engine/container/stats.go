package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/task"
	"github.com/conex-containers/conex/network"
)

// statsInterval is the time between two samples of a stream.
const statsInterval = time.Second

// ContainerStats returns a function that gives one sample a call. Unless oneShot is set each call waits until a
// second after the sample before, which it shows beside its own: clients compute rates from the two.
func (s *Service) ContainerStats(_ context.Context, ref string, oneShot bool) (func(context.Context) (types.StatsResponse, error), error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	var before types.StatsResponse
	return func(ctx context.Context) (types.StatsResponse, error) {
		if !oneShot && before.Read.IsZero() {
			if before, err = s.sample(ctx, c); err != nil {
				return before, err
			}
		}
		if !oneShot {
			if err := pause(ctx, time.Until(before.Read.Add(statsInterval))); err != nil {
				return types.StatsResponse{}, err
			}
		}
		now, err := s.sample(ctx, c)
		if err != nil {
			return now, err
		}
		if now.CPUStats.CPUUsage.TotalUsage > 0 {
			now.PreRead, now.PreCPUStats = before.Read, before.CPUStats
		}
		before = now
		return now, nil
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sample reads the counters once; of a container that does not run there are none.
func (s *Service) sample(ctx context.Context, c *Container) (types.StatsResponse, error) {
	v := c.view()
	out := types.StatsResponse{ID: v.ID, Name: "/" + v.Name, OSType: "linux", Read: time.Now()}
	if v.State == removed {
		return out, errdefs.NotFound("No such container: %s", v.ID)
	}
	if !v.alive() {
		return out, nil
	}
	st, err := s.cfg.Processes.Stats(ctx, s.cfg.Namespace, v.ID)
	if errdefs.IsNotFound(err) {
		return out, nil // it has just ended
	}
	if err != nil {
		return out, fmt.Errorf("container %s: stats: %w", v.ID, err)
	}
	out.CPUStats = cpuStats(st)
	out.MemoryStats = memoryStats(st)
	out.PidsStats = types.PidsStats{Current: st.PidsStats.Current, Limit: st.PidsStats.Limit}
	out.BlkioStats = blkioStats(st)
	out.Networks = networkStats(v.Run.Endpoints)
	return out, nil
}

func cpuStats(st *task.Stats) types.CPUStats {
	u, t := st.CpuStats.CpuUsage, st.CpuStats.ThrottlingData
	return types.CPUStats{
		CPUUsage: types.CPUUsage{
			TotalUsage: u.TotalUsage, PercpuUsage: u.PercpuUsage, UsageInKernelmode: u.UsageInKernelmode, UsageInUsermode: u.UsageInUsermode,
		},
		SystemUsage: systemCPU(), OnlineCPUs: uint32(runtime.NumCPU()),
		ThrottlingData: types.ThrottlingData{Periods: t.Periods, ThrottledPeriods: t.ThrottledPeriods, ThrottledTime: t.ThrottledTime},
	}
}

func memoryStats(st *task.Stats) types.MemoryStats {
	u := st.MemoryStats.Usage
	out := types.MemoryStats{Usage: u.Usage, MaxUsage: u.MaxUsage, Failcnt: u.Failcnt, Limit: u.Limit, Stats: st.MemoryStats.Stats}
	if total := memoryTotal(); out.Limit == 0 || out.Limit > total {
		out.Limit = total
	}
	return out
}

// systemCPU is the machine's CPU time of all kinds in nanoseconds, by proc(5) stat.
func systemCPU() uint64 {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var total uint64
	for i, f := range strings.Fields(line) {
		if n, err := strconv.ParseUint(f, 10, 64); err == nil && i <= 8 {
			total += n
		}
	}
	return total * uint64(time.Second) / clockTicks
}

// memoryTotal is the machine's memory in bytes.
func memoryTotal() uint64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	if f := strings.Fields(line); len(f) > 1 && f[0] == "MemTotal:" {
		n, _ := strconv.ParseUint(f[1], 10, 64)
		return n << 10
	}
	return 0
}

// networkStats reads the host ends of a container's links: what the host sent is what the container received.
func networkStats(endpoints []network.Endpoint) map[string]types.NetworkStats {
	if len(endpoints) == 0 {
		return nil
	}
	out := make(map[string]types.NetworkStats, len(endpoints))
	for _, e := range endpoints {
		if e.HostLink == "" {
			continue // macvlan, ipvlan: there is no end of it on the host
		}
		read := func(name string) uint64 {
			data, err := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(e.HostLink), "statistics", name))
			if err != nil {
				return 0
			}
			n, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
			return n
		}
		out[e.Interface] = types.NetworkStats{
			RxBytes: read("tx_bytes"), RxPackets: read("tx_packets"), RxErrors: read("tx_errors"), RxDropped: read("tx_dropped"),
			TxBytes: read("rx_bytes"), TxPackets: read("rx_packets"), TxErrors: read("rx_errors"), TxDropped: read("rx_dropped"),
		}
	}
	return out
}

func blkioStats(st *task.Stats) types.BlkioStats {
	b := st.BlkioStats
	var out types.BlkioStats
	for _, e := range b.IoServiceBytesRecursive {
		out.IoServiceBytesRecursive = append(out.IoServiceBytesRecursive, types.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value})
	}
	for _, e := range b.IoServicedRecursive {
		out.IoServicedRecursive = append(out.IoServicedRecursive, types.BlkioStatEntry{Major: e.Major, Minor: e.Minor, Op: e.Op, Value: e.Value})
	}
	return out
}
