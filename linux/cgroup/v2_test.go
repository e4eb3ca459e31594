package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// directory is a directory with empty files, for what is written to a v2 group on a machine that has v1.
func directory(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			out[e.Name()] = string(b)
		}
	}
	return out
}

func TestLimitsOfV2(t *testing.T) {
	limit, swap, low, shares, quota, burst, pids, weight, idle := int64(100), int64(150), int64(50), uint64(1024), int64(20000), uint64(7), int64(0), uint16(500), int64(0)
	dir := directory(t, "pids.max", "memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle",
		"cpuset.cpus", "cpuset.mems", "io.weight", "io.max", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "memory.high", "rdma.max")
	g := &Group{paths: map[string]string{"": dir}}
	handles := uint32(3)
	if err := g.setV2(&specs.LinuxResources{
		Pids:           &specs.LinuxPids{Limit: &pids},
		Memory:         &specs.LinuxMemory{Limit: &limit, Swap: &swap, Reservation: &low},
		CPU:            &specs.LinuxCPU{Shares: &shares, Quota: &quota, Burst: &burst, Cpus: "0", Mems: "0", Idle: &idle},
		BlockIO:        &specs.LinuxBlockIO{Weight: &weight, ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{Rate: 9}}},
		HugepageLimits: []specs.LinuxHugepageLimit{{Pagesize: "2MB", Limit: 4}},
		Rdma:           map[string]specs.LinuxRdma{"mlx": {HcaHandles: &handles}},
		Unified:        map[string]string{"memory.high": "80"},
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"pids.max": "1", "memory.max": "100", "memory.swap.max": "50", "memory.low": "50", "cpu.weight": "100",
		"cpu.max": "20000 100000", "cpu.max.burst": "7", "cpu.idle": "0", "cpuset.cpus": "0", "cpuset.mems": "0", "io.weight": "4950",
		"io.max": "0:0 rbps=9", "hugetlb.2MB.max": "4", "hugetlb.2MB.rsvd.max": "4", "memory.high": "80", "rdma.max": "mlx hca_handle=3"}
	if got := contents(t, dir); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, key := range []string{"../x", "memory", "a/b.c", ".x"} {
		if err := setUnified(dir, map[string]string{key: "1"}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("unified %q: %v", key, err)
		}
	}
}

func TestSwapOfV2(t *testing.T) {
	for _, c := range []struct {
		swap, limit int64
		want        string
		bad         bool
	}{
		{0, 100, "", false}, {100, 100, "0", false}, {150, 100, "50", false}, {-1, 100, "max", false}, {0, -1, "max", false},
		{50, -1, "50", false}, {50, 100, "", true}, {50, 0, "", true}, {0, 0, "", false},
	} {
		if got, err := swapText(c.swap, c.limit); got != c.want || (err != nil) != c.bad {
			t.Errorf("memory+swap %d, memory %d: %q, %v; want %q", c.swap, c.limit, got, err, c.want)
		}
	}
	for shares, want := range map[uint64]uint64{1: 1, 2: 1, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		if got := cpuWeight(shares); got != want {
			t.Errorf("weight of %d shares: %d, want %d", shares, got, want)
		}
	}
}

func TestStatsOfV2(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"cpu.stat":    "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 2\nnr_throttled 1\nthrottled_usec 9\n",
		"memory.stat": "anon 1\nfile 2\n", "memory.current": "10\n", "memory.peak": "20\n", "memory.max": "max\n",
		"memory.events": "low 0\nmax 5\noom_kill 1\n", "pids.current": "3\n", "pids.max": "max\n",
		"io.stat":             "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
		"hugetlb.2MB.current": "6\n", "hugetlb.2MB.events": "max 8\n", "hugetlb.2MB.rsvd.current": "1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &Stats{HugetlbStats: make(map[string]HugetlbStats)}
	for _, fill := range []func(string, *Stats) error{cpuStatsV2, memoryStatsV2, pidsStats, ioStatsV2, hugetlbStatsV2} {
		if err := fill(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	if s.CpuStats.CpuUsage.TotalUsage != 7000 || s.CpuStats.ThrottlingData.ThrottledTime != 9000 || s.MemoryStats.Usage.Usage != 10 ||
		s.MemoryStats.Usage.Failcnt != 5 || s.MemoryStats.Usage.Limit != 1<<64-1 || s.MemoryStats.Cache != 2 || s.PidsStats != (PidsStats{3, 0}) ||
		len(s.BlkioStats.IoServicedRecursive) != 2 || s.HugetlbStats["2MB"] != (HugetlbStats{Usage: 6, Failcnt: 8}) || len(s.HugetlbStats) != 1 {
		t.Errorf("%+v", s)
	}
}

// The v2 freezer waits for the kernel's event.
func TestFreezeOfV2(t *testing.T) {
	dir := v2Group(t)
	cmd := exec.Command("/bin/sh", "-c", "echo 0 > "+dir+"/cgroup.procs; echo in; while :; do :; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if err := freezeV2(context.Background(), dir); err != nil {
		t.Fatal(err)
	}
	events, err := read(dir, "cgroup.events")
	if err != nil || !strings.Contains(events, "frozen 1") {
		t.Errorf("events %q, %v", events, err)
	}
	if err := write(dir, "cgroup.freeze", "0"); err != nil {
		t.Fatal(err)
	}
	// A group that nothing freezes: the wait ends with its context.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fd, err := open(dir, "cgroup.events", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(dir, "cgroup.events"); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "cgroup.events")
	defer func() { _ = f.Close() }()
	if _, err := f.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	for range 8 { // an event of before may still be there
		if err = awaitPriority(ctx, fd); err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	for _, bad := range []string{"/", "..", "/../..", "."} {
		if _, err := places(bad); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	list, err := places("/a/../../b")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if !strings.HasPrefix(p.dir, mountPoint+"/") || !strings.HasSuffix(p.dir, "/b") || strings.Contains(p.dir, "..") {
			t.Errorf("%v is at %s", p.controllers, p.dir)
		}
	}
	table := "30 25 0:26 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n31 25 0:27 /docker/x /cg/memory rw - cgroup cgroup rw,memory\n"
	if got := findMount(table, "cpuacct"); got != "/cg/cpu,cpuacct" {
		t.Errorf("cpuacct is at %q", got)
	}
	if got := findMount(table, "memory"); got != "" {
		t.Errorf("memory, whose root is elsewhere, is at %q", got)
	}
}

// v2 has quota and period in one file, and swap alone: what an update does not name stays.
func TestUpdatesOfV2(t *testing.T) {
	dir := directory(t)
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("cpu.max", "5000 50000\n")
	period := uint64(20000)
	for _, c := range []struct {
		quota  int64
		period *uint64
		want   string
	}{{7000, nil, "7000 50000"}, {0, &period, "5000 20000"}, {-1, nil, "max 50000"}, {9, &period, "9 20000"}} {
		if got, err := quotaText(dir, c.quota, c.period); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	put("memory.max", "100\n")
	put("memory.swap.max", "50\n")
	if got, err := sameTotal(dir, 120); err != nil || got != "30" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := sameTotal(dir, 151); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("%v", err)
	}
	put("memory.swap.max", "max\n")
	if got, err := sameTotal(dir, 120); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestDelegated(t *testing.T) {
	if got := delegated("cgroup.procs\nmemory.reclaim\n../x\ncgroup.threads\n"); !reflect.DeepEqual(got, []string{"cgroup.procs", "memory.reclaim", "cgroup.threads"}) {
		t.Errorf("%q", got)
	}
	if got := delegated(""); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

func TestPressure(t *testing.T) {
	p, err := parsePressure("some avg10=1.50 avg60=0.02 avg300=0.00 total=77\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=5\n")
	if err != nil || p.Some.Avg10 != 1.5 || p.Some.Total != 77 || p.Full.Avg10 != 0.1 || p.Full.Total != 5 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := parsePressure("some avg10=x"); err == nil {
		t.Error("took no number")
	}
}

// Parents that were made for a group go with the last of them, others stay.
func TestParents(t *testing.T) {
	top := fmt.Sprintf("/conextest-parent%d", os.Getpid())
	if err := Prepare(top); err != nil {
		t.Fatal(err)
	}
	list, err := places(top)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, p := range list {
			if err := removeTree(p.dir); err != nil {
				t.Error(err)
			}
		}
	}()
	var groups []*Group
	for _, name := range []string{"/a/b/one", "/a/b/two"} {
		g, err := New(Config{Path: top + name})
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	for i, want := range []bool{true, false} {
		if err := groups[i].Destroy(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if exists(p.dir+"/a/b") != want || exists(p.dir+"/a") != want {
				t.Errorf("after delete %d: %s/a/b is there: %v", i+1, p.dir, !want)
			}
			if !exists(p.dir) {
				t.Errorf("%s is gone, and was not made for a group", p.dir)
			}
		}
	}
	if _, err := New(Config{Path: top + "/c/d", Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}}}); err == nil {
		t.Error("made a group of a bad configuration")
	}
	frozen, err := New(Config{Path: top + "/f"})
	if err != nil {
		t.Fatal(err)
	}
	if err := frozen.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Path: top + "/f"}); err == nil || !strings.Contains(err.Error(), "container's cgroup unexpectedly frozen") {
		t.Errorf("used a frozen group: %v", err)
	}
	if err := frozen.Destroy(context.Background()); err != nil {
		t.Error(err)
	}
	// What was there before Prepare stays after Release.
	if err := Prepare(top); err != nil {
		t.Fatal(err)
	}
	other := list[0].dir + "/other"
	if err := os.Mkdir(other, groupMode); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Prepare(top+"/other"), Release(top+"/other")); err != nil {
		t.Fatal(err)
	}
	if !exists(other) || len(list) > 1 && exists(list[1].dir+"/other") {
		t.Errorf("after release: %s is there: %v, %s/other: %v", other, exists(other), list[1].dir, exists(list[1].dir+"/other"))
	}
	if err := errors.Join(os.Remove(other), Release(top)); err != nil || exists(list[0].dir) {
		t.Errorf("after release: %s is there: %v, %v", list[0].dir, exists(list[0].dir), err)
	}
}

// The kernel tells of want of memory at once.
func TestWatchOOM(t *testing.T) {
	limit := int64(8 << 20)
	g, err := New(Config{Path: fmt.Sprintf("/conextest-oom%d", os.Getpid()), Resources: &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	oom, err := g.WatchOOM(ctx)
	if err != nil {
		t.Fatal(err)
	}
	join := ""
	for _, dir := range g.Paths() {
		join += "echo 0 > " + dir + "/cgroup.procs; "
	}
	hog := exec.Command("sh", "-c", join+"x=$(head -c 64m /dev/zero | tr '\\0' x)")
	_ = hog.Run()
	select {
	case _, ok := <-oom:
		if !ok {
			t.Error("the channel ended instead")
		}
	case <-ctx.Done():
		t.Error("no event")
	}
	if err := g.Destroy(context.Background()); err != nil {
		t.Error(err)
	}
	for range oom { // ends with the group
		continue
	}
	if ctx.Err() != nil {
		t.Error("the channel did not end with the group")
	}
}
