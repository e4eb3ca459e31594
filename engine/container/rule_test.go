package container

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/blkiodev"
	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/engine/spec"
)

func TestBackoff(t *testing.T) {
	var wait time.Duration
	var got []time.Duration
	for range 12 {
		wait = nextBackoff(wait, time.Second)
		got = append(got, wait)
	}
	if got[0] != 100*time.Millisecond || got[1] != 200*time.Millisecond || got[9] != 51200*time.Millisecond || got[10] != time.Minute || got[11] != time.Minute {
		t.Errorf("%v", got)
	}
	if again := nextBackoff(time.Minute, 10*time.Second); again != 100*time.Millisecond {
		t.Errorf("after a long run: %v", again)
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy   types.RestartPolicyMode
		most     int
		code     int
		restarts int
		stopped  bool
		want     bool
	}{
		{"no", 0, 1, 0, false, false},
		{"", 0, 1, 0, false, false},
		{"always", 0, 0, 99, false, true},
		{"always", 0, 0, 0, true, false},
		{"unless-stopped", 0, 3, 1, false, true},
		{"on-failure", 0, 0, 0, false, false},
		{"on-failure", 0, 1, 99, false, true},
		{"on-failure", 2, 1, 1, false, true},
		{"on-failure", 2, 1, 2, false, false},
	} {
		if got := wantsRestart(types.RestartPolicy{Name: c.policy, MaximumRetryCount: c.most}, c.code, c.restarts, c.stopped); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestGeneratedNames(t *testing.T) {
	for _, list := range [][]string{moods, finds} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Errorf("a word list is unsorted or has a word twice: %v", list)
		}
	}
	for try := range 20 {
		n := generatedName(try)
		if err := ids.CheckName("container name", n); err != nil || strings.Count(n, "_") != 1 {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestParseBind(t *testing.T) {
	for text, want := range map[string]Mount{
		"/a:/b":          {Type: mount.TypeBind, Source: "/a", Destination: "/b", RW: true, Propagation: "rprivate", Recursive: true, MakeSource: true},
		"/a/:/b/:ro":     {Type: mount.TypeBind, Source: "/a", Destination: "/b", Mode: "ro", Propagation: "rprivate", Recursive: true, MakeSource: true},
		"/a:/b:rshared":  {Type: mount.TypeBind, Source: "/a", Destination: "/b", Mode: "rshared", RW: true, Propagation: "rshared", Recursive: true, MakeSource: true},
		"vol:/b:nocopy":  {Type: mount.TypeVolume, Name: "vol", Destination: "/b", Mode: "nocopy", RW: true, NoCopy: true, Recursive: true},
		"/anonymous/dir": {Type: mount.TypeVolume, Destination: "/anonymous/dir", RW: true, Recursive: true},
	} {
		got, err := parseBind(text, "")
		if err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":            "invalid volume specification: ''",
		":/b":         "invalid volume specification: ':/b'",
		"/a:/b:/c:ro": "invalid volume specification: '/a:/b:/c:ro'",
		"/a:b":        "mount path must be absolute",
		"/a:/":        "destination can't be '/'",
		"/a:/b:what":  "invalid mode: what",
		"/a:ro":       "invalid volume specification: '/a:ro'",
		"/a:/../":     "destination can't be '/'",
	} {
		if _, err := parseBind(text, ""); !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseBind(f *testing.F) {
	f.Add("/a:/b:ro,z")
	f.Add("vol:/x")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseBind(text, "")
		if err == nil && (!strings.HasPrefix(m.Destination, "/") || m.Destination == "/" || strings.Contains(m.Destination+"/", "/../")) {
			t.Errorf("%q: destination %q", text, m.Destination)
		}
	})
}

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"9": 9, "KILL": 9, "SIGKILL": 9, "sigterm": 15, "hup": 1, "RTMIN": 34, "RTMIN+1": 35, "SIGRTMAX-1": 63, "64": 64,
	} {
		if got, err := parseSignal(text); err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "0", "65", "-1", "NOPE", "SIG", "RTMIN-1", "RTMIN+99"} {
		if got, err := parseSignal(bad); err == nil || err.Error() != "invalid signal: "+bad {
			t.Errorf("%q: %d %v", bad, got, err)
		}
	}
}

func TestDetachKeys(t *testing.T) {
	for text, want := range map[string]string{"": "\x10\x11", "ctrl-a": "\x01", "a,ctrl-\\,ctrl-@": "a\x1c\x00", "ctrl-z,z": "\x1az"} {
		if got, err := detachKeys(text); err != nil || string(got) != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for _, bad := range []string{"ctrl-", "ctrl-A", "ab", "a,,b", "ctrl-1"} {
		if got, err := detachKeys(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestCheckResources(t *testing.T) {
	for name, c := range map[string]struct {
		r    types.Resources
		want string
	}{
		"little memory": {types.Resources{Memory: 1 << 20}, "Minimum memory limit allowed is 6MB"},
		"little swap":   {types.Resources{Memory: 64 << 20, MemorySwap: 32 << 20}, "Minimum memoryswap limit should be larger than memory limit, see usage"},
		"swap alone":    {types.Resources{MemorySwap: 64 << 20}, "You should always set the Memory limit when using Memoryswap limit, see usage"},
		"cpus":          {types.Resources{NanoCPUs: 1e15}, "range of CPUs is from 0.01 to"},
		"both":          {types.Resources{NanoCPUs: 1e9, CPUQuota: 5000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
		"cpuset":        {types.Resources{CpusetCpus: "4000"}, "Requested CPUs are not available - requested 4000, available: "},
		"no cpuset":     {types.Resources{CpusetCpus: "x"}, "could not parse cpuset"},
		"weight":        {types.Resources{BlkioWeight: 5}, "range of blkio weight is from 10 to 1000"},
	} {
		r := c.r
		if _, err := checkResources(&r, spec.Host{SwapLimit: true}); !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	r := types.Resources{Memory: 64 << 20}
	if w, err := checkResources(&r, spec.Host{}); err != nil || len(w) != 1 || r.MemorySwap != -1 {
		t.Errorf("without swap limits: %v %v %d", w, err, r.MemorySwap)
	}
}

func TestTmpfsOptions(t *testing.T) {
	got := strings.Join(tmpfsOptions(Mount{RW: true, TmpfsData: "exec,size=64m"}), " ")
	if got != "nosuid nodev rprivate exec size=64m" {
		t.Errorf("data: %s", got)
	}
	got = strings.Join(tmpfsOptions(Mount{Tmpfs: &mount.TmpfsOptions{SizeBytes: 100, Mode: 0o1770}}), " ")
	if got != "noexec nosuid nodev rprivate size=100 mode=1770 ro" {
		t.Errorf("mount: %s", got)
	}
}

func TestTmpfsCheck(t *testing.T) {
	for _, good := range []string{"", "exec,size=64m", "size=50%,mode=1777,uid=0,gid=33", "nr_inodes=10k,huge=always,ro,noswap"} {
		if err := checkTmpfs("/t", strings.Split(good, ",")); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"sise=64m", "fast", "size=big", "mode=9", "uid=alice", "nr_inodes=50%", "size="} {
		err := checkTmpfs("/t", []string{bad})
		if !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// What an engine without CAP_SYS_RESOURCE clamps, it says at the container's creation.
func TestBounded(t *testing.T) {
	b := &spec.Bounds{Limits: map[string]int64{"nofile": 20000, "core": -1}, Score: 10}
	hc := &types.HostConfig{OomScoreAdj: -5}
	hc.Ulimits = []*types.Ulimit{{Name: "nofile", Soft: 10, Hard: 30000}, {Name: "core", Soft: -1, Hard: -1}, {Name: "nproc", Soft: 1, Hard: 2}}
	w := bounded(hc, b)
	if len(w) != 2 || !strings.Contains(w[0], "ulimit nofile cannot be raised to 30000") || !strings.Contains(w[1], "cannot be lowered to -5") {
		t.Errorf("%q", w)
	}
	hc.Ulimits[0].Hard, hc.OomScoreAdj = 20000, 0
	if w := append(bounded(hc, b), bounded(&types.HostConfig{OomScoreAdj: -1000}, nil)...); len(w) > 0 {
		t.Errorf("%q", w)
	}
}

func TestSplitHost(t *testing.T) {
	for text, want := range map[string][2]string{
		"a:1.2.3.4": {"a", "1.2.3.4"}, "a=1.2.3.4": {"a", "1.2.3.4"}, "a:::1": {"a", "::1"}, "a:[::1]": {"a", "::1"},
		"a:host-gateway": {"a", "host-gateway"}, "a:b": {}, "nothing": {}, "a b:1.2.3.4": {},
	} {
		if n, ip := splitHost(text); n != want[0] || ip != want[1] {
			t.Errorf("%s: %q %q", text, n, ip)
		}
	}
}

func TestProcessRow(t *testing.T) {
	row, ok := processRow(syscall.Getpid(), bootTime(), time.Now())
	if !ok || len(row) != 8 || !strings.Contains(row[7], "test") || row[0] == "?" {
		t.Errorf("%v %v", row, ok)
	}
	if got := terminal(136<<8 | 3); got != "pts/3" {
		t.Error(got)
	}
}

// An update takes a rule away from a running container by a rate of 0, and leaves alone what it does not name.
func TestUpdatedThrottles(t *testing.T) {
	rule := func(path string, rate uint64) *blkiodev.ThrottleDevice {
		return &blkiodev.ThrottleDevice{Path: path, Rate: rate}
	}
	old := types.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{rule("/dev/a", 1), rule("/dev/b", 2)}, BlkioDeviceWriteIOps: []*blkiodev.ThrottleDevice{rule("/dev/a", 3)}}
	now := old
	if err := mergeResources(&now, &types.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{rule("/dev/b", 9)}}); err != nil {
		t.Fatal(err)
	}
	live := withoutThrottles(now, &old)
	if got := live.BlkioDeviceReadBps; len(got) != 2 || *got[0] != *rule("/dev/b", 9) || *got[1] != *rule("/dev/a", 0) {
		t.Errorf("read: %v", got)
	}
	if len(now.BlkioDeviceReadBps) != 1 || len(now.BlkioDeviceWriteIOps) != 1 || len(live.BlkioDeviceWriteIOps) != 1 {
		t.Errorf("kept: %v %v", now, live)
	}
	if err := mergeResources(&now, &types.Resources{BlkioDeviceReadBps: []*blkiodev.ThrottleDevice{}}); err != nil || len(now.BlkioDeviceReadBps) != 0 {
		t.Errorf("cleared: %v %v", now.BlkioDeviceReadBps, err)
	}
}
