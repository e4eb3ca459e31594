package cgroup

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/dbus"
)

func TestParseUnitPath(t *testing.T) {
	for _, c := range []struct {
		path, id    string
		user        bool
		slice, unit string
	}{
		{"", "c1", false, "system.slice", "conex-c1.scope"},
		{"", "c1", true, "user.slice", "conex-c1.scope"},
		{"machine.slice:libpod:abc", "x", false, "machine.slice", "libpod-abc.scope"},
		{"a-b.slice::n", "x", false, "a-b.slice", "n.scope"},
		{"kube.slice:cri:pod.slice", "x", false, "kube.slice", "pod.slice"},
		{":p:n", "x", false, "system.slice", "p-n.scope"},
		{"/a/b", "x", false, "", ""}, {"a:b", "x", false, "", ""}, {"a.slice:p:", "x", false, "", ""}, {"a--b.slice:p:n", "x", false, "", ""},
		{"a.slice:p:n/../m", "x", false, "", ""}, {"../a.slice:p:n", "x", false, "", ""}, {"-a.slice:p:n", "x", false, "", ""},
	} {
		got, err := parseUnitPath(c.path, c.id, c.user)
		if (err != nil) != (c.unit == "") || err == nil && (got.slice != c.slice || got.unit != c.unit) {
			t.Errorf("%q: %+v, %v", c.path, got, err)
		}
	}
}

func TestExpandSlice(t *testing.T) {
	for slice, want := range map[string]string{"-.slice": "/", "a.slice": "/a.slice", "a-b-c.slice": "/a.slice/a-b.slice/a-b-c.slice",
		"a": "", ".slice": "", "a-.slice": "", "-a.slice": "", "a/b.slice": ""} {
		if got, err := expandSlice(slice); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", slice, got, err)
		}
	}
}

func TestParseVariant(t *testing.T) {
	for text, want := range map[string]any{"true": true, "'a b'": "a b", `"it's"`: "it's", `'it\'s'`: "it's", "5": int32(5), "-5": int32(-5), "2.5": 2.5,
		"uint64 123456789012": uint64(123456789012), "@t 5": uint64(5), "byte 7": byte(7), "['a', \"b\"]": []string{"a", "b"}, "@as []": []string{}} {
		if got, err := parseVariant(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "'a", "'a' b", "5x", "[5]", "['a' 'b']", "uint64 -1", "what 5", "99999999999", "byte 256"} {
		if got, err := parseVariant(bad); err == nil {
			t.Errorf("%q was taken as %#v", bad, got)
		}
	}
}

func TestAnnotated(t *testing.T) {
	got, err := annotated(map[string]string{"org.systemd.property.TimeoutStopSec": "1.5", "org.systemd.property.CollectMode": "'inactive-or-failed'", "other": "x"})
	want := []dbus.Property{{Name: "CollectMode", Value: "inactive-or-failed"}, {Name: "TimeoutStopUSec", Value: uint64(1500000)}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%#v, %v", got, err)
	}
	for key, value := range map[string]string{"org.systemd.property.x": "5", "org.systemd.property.A/B": "5", "org.systemd.property.": "5",
		"org.systemd.property.Foo": "what", "org.systemd.property.FooSec": "'a'", "org.systemd.property.BarSec": "-1"} {
		if got, err := annotated(map[string]string{key: value}); err == nil {
			t.Errorf("%s=%s was taken as %v", key, value, got)
		}
	}
}

func properties(t *testing.T, r *specs.LinuxResources, version int) map[string]any {
	t.Helper()
	list, err := limitProperties(r, version)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, p := range list {
		out[p.Name] = p.Value
	}
	return out
}

func TestLimitProperties(t *testing.T) {
	limit, quota, period, pids := int64(1<<20), int64(25000), uint64(100000), int64(0)
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, CPU: &specs.LinuxCPU{Quota: &quota, Period: &period, Cpus: "0-2,9"},
		Pids: &specs.LinuxPids{Limit: &pids}}
	got := properties(t, r, 250)
	want := map[string]any{either("MemoryMax", "MemoryLimit"): uint64(1 << 20), "CPUQuotaPeriodUSec": uint64(100000), "CPUQuotaPerSecUSec": uint64(250000),
		"AllowedCPUs": []byte{7, 2}, "TasksMax": uint64(1)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
	if old := properties(t, r, 240); old["AllowedCPUs"] != nil || old["CPUQuotaPeriodUSec"] != nil {
		t.Errorf("an old systemd is given %v", old)
	}
	quota = 4001 // rounded up to the next 10 ms of a second
	if got := properties(t, r, 250)["CPUQuotaPerSecUSec"]; got != uint64(50000) {
		t.Errorf("quota %v", got)
	}
	quota = -1
	if got := properties(t, r, 250)["CPUQuotaPerSecUSec"]; got != ^uint64(0) {
		t.Errorf("no quota %v", got)
	}
	got = properties(t, &specs.LinuxResources{Unified: map[string]string{"cpu.max": "max 50000", "memory.high": "max", "pids.max": "7"}}, 250)
	want = map[string]any{"CPUQuotaPeriodUSec": uint64(50000), "CPUQuotaPerSecUSec": ^uint64(0), "MemoryHigh": ^uint64(0), "TasksMax": uint64(7)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("unified: got  %#v\nwant %#v", got, want)
	}
}

func TestDeviceProperties(t *testing.T) {
	one, three := int64(1), int64(3)
	d, err := deviceRules(&specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"},
		{Allow: true, Type: "b", Major: &one, Minor: &three, Access: "r"}}})
	if err != nil {
		t.Fatal(err)
	}
	list := deviceProperties(d)
	pairs, _ := list[1].Value.([]dbus.Pair)
	text := fmt.Sprint(pairs)
	for _, want := range []string{"{char-* m}", "{/dev/block/1:3 r}", "{/dev/char/1:3 rwm}"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
	if got := parseDeviceGroups("Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  1 ramdisk\n  8 sd\n", "char", 1); !reflect.DeepEqual(got, []string{"mem"}) {
		t.Errorf("%v", got)
	}
}

// fakeSystemd does what systemd does of a scope: it makes the group in the hierarchies that are its own, with the processes in it, and tells of jobs.
type fakeSystemd struct {
	mu    sync.Mutex
	t     *testing.T
	calls []string
	units map[string][]any // properties by unit
	jobs  int
	roots []string
}

func startFake(t *testing.T) *fakeSystemd {
	f := &fakeSystemd{t: t, units: map[string][]any{}}
	for _, controllers := range [][]string{{"name=systemd"}, {""}} {
		if point, err := mounted(controllers); err == nil && point != "" {
			f.roots = append(f.roots, point)
		}
	}
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(c)
		}
	}()
	return f
}

func (f *fakeSystemd) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	_, _ = c.Write([]byte("OK 1234deadbeef\r\n"))
	_, _ = in.ReadString('\n')
	for {
		m, err := dbus.ReadMessage(in)
		if err != nil {
			return
		}
		for _, r := range f.answer(m) {
			b, err := r.Encode()
			if err != nil {
				f.t.Error(err)
				return
			}
			_, _ = c.Write(b)
		}
	}
}

func (f *fakeSystemd) answer(m *dbus.Message) []*dbus.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	reply := func(body ...any) []*dbus.Message {
		return []*dbus.Message{{Kind: dbus.MethodReturn, Reply: m.Serial, Body: body}}
	}
	fail := func(name string) []*dbus.Message {
		return []*dbus.Message{{Kind: dbus.ErrorReply, Reply: m.Serial, ErrorName: "org.freedesktop.systemd1." + name, Body: []any{name}}}
	}
	unit := ""
	if len(m.Body) > 0 {
		unit, _ = m.Body[0].(string)
	}
	f.calls = append(f.calls, m.Member)
	switch m.Member {
	case "Hello":
		return reply(":1.5")
	case "Get":
		if m.Body[1] == "Version" {
			return reply("252.39-1~deb12u1")
		}
		return reply("/")
	case "StartTransientUnit":
		if f.units[unit] != nil {
			return fail("UnitExists")
		}
		f.units[unit], _ = m.Body[2].([]any)
		if err := f.group(unit); err != nil {
			f.t.Error(err)
		}
		return f.job(m, unit, "done")
	case "StopUnit":
		if f.units[unit] == nil {
			return fail("NoSuchUnit")
		}
		delete(f.units, unit)
		return f.job(m, unit, "done")
	case "SetUnitProperties":
		f.units[unit], _ = m.Body[2].([]any)
		return reply()
	case "ResetFailedUnit":
		return fail("NoSuchUnit")
	}
	return reply()
}

// job answers a job, with the end of another one before it and its own end around the reply.
func (f *fakeSystemd) job(m *dbus.Message, unit, result string) []*dbus.Message {
	f.jobs++
	job := fmt.Sprintf("/org/freedesktop/systemd1/job/%d", f.jobs)
	removed := func(job string) *dbus.Message {
		return &dbus.Message{Kind: dbus.SignalKind, Path: systemdPath, Interface: systemdManager, Member: "JobRemoved",
			Body: []any{uint32(f.jobs), dbus.ObjectPath(job), unit, result}}
	}
	return []*dbus.Message{removed("/other/job"), {Kind: dbus.MethodReturn, Reply: m.Serial, Body: []any{dbus.ObjectPath(job)}}, removed(job)}
}

func (f *fakeSystemd) group(unit string) error {
	props := map[string]any{}
	for _, p := range f.units[unit] {
		pair, _ := p.([]any)
		props[pair[0].(string)] = pair[1]
	}
	slice, err := expandSlice(props["Slice"].(string))
	if err != nil {
		return err
	}
	for _, root := range f.roots {
		dir := filepath.Join(root, slice, unit)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, pid := range props["PIDs"].([]any) {
			if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(int(pid.(uint32)))), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestSystemdDriver(t *testing.T) {
	f := startFake(t)
	holder := exec.Command("sleep", "60")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	slice := fmt.Sprintf("conextest%d.slice", os.Getpid())
	t.Cleanup(func() {
		list, _ := places("/" + slice)
		for _, p := range list {
			_ = removeTree(p.dir)
		}
	})
	pids := int64(7)
	g, err := New(Config{Path: slice + ":conex:one", ID: "one", Systemd: true, Holder: holder.Process.Pid,
		Resources:   &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}},
		Annotations: map[string]string{"org.systemd.property.RuntimeMaxSec": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if g.Unit() != (Unit{"conex-one.scope", 252}) {
		t.Errorf("unit %+v", g.Unit())
	}
	text := fmt.Sprint(f.units["conex-one.scope"])
	for _, want := range []string{"[Slice " + slice + "]", "[Delegate true]", "[TasksMax 7]", "[RuntimeMaxUSec 2000000]", "[DevicePolicy strict]",
		fmt.Sprintf("[PIDs [%d]]", holder.Process.Pid)} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	for controller, dir := range g.Paths() {
		if !strings.HasSuffix(dir, "/"+slice+"/conex-one.scope") || !exists(dir) {
			t.Errorf("%s: %s", controller, dir)
		}
	}
	if got, err := read(g.census(), "pids.max"); Unified() && (err != nil || strings.TrimSpace(got) != "7") {
		t.Errorf("pids.max %q, %v", got, err)
	}
	// A second container of the name is refused while the first is there.
	if _, err := New(Config{Path: slice + ":conex:one", ID: "two", Systemd: true, Holder: holder.Process.Pid}); err == nil || !strings.Contains(err.Error(), "UnitExists") {
		t.Errorf("second unit: %v", err)
	}
	_ = holder.Process.Kill()
	_ = holder.Wait()
	again, err := OpenUnit(g.Paths(), g.Unit())
	if err != nil {
		t.Fatal(err)
	}
	pids = 9
	if err := again.Set(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}}); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(f.units["conex-one.scope"]); got != "[[TasksMax 9]]" {
		t.Errorf("update: %s", got)
	}
	for range 2 { // the second finds nothing any more
		if err := again.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if len(f.units) != 0 || again.Exists() {
		t.Errorf("left: units %v, group %v", f.units, again.Exists())
	}
}

func TestSystemdAway(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+t.TempDir()+"/nobody")
	if _, err := New(Config{ID: "x", Systemd: true, Holder: 1}); err == nil || !strings.Contains(err.Error(), "systemd does not answer") {
		t.Errorf("%v", err)
	}
}

func FuzzParseVariant(f *testing.F) {
	f.Add("['a', 'b']")
	f.Add("uint64 5")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = parseVariant(s) })
}
