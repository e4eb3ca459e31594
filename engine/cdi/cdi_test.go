package cdi

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const gpus = `
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  env: [FILE=1]
  mounts:
  - {hostPath: /usr/lib/x.so, containerPath: /usr/lib/x.so, options: [ro, bind]}
  hooks:
  - {hookName: createContainer, path: /bin/true, args: [true, "--x"]}
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/gpu0, hostPath: /dev/null, permissions: rw}]
- name: all
  containerEdits:
    env: [ALL=1]
    deviceNodes: [{path: /dev/gpu0, type: c, major: 1, minor: 5}]
`

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func empty() *specs.Spec {
	return &specs.Spec{
		Process: &specs.Process{Env: []string{"FILE=0", "X=1"}, User: specs.User{UID: 7, AdditionalGids: []uint32{7}}},
		Linux:   &specs.Linux{Resources: &specs.LinuxResources{}, Devices: []specs.LinuxDevice{{Path: "/dev/gpu0"}}},
		Mounts:  []specs.Mount{{Destination: "/usr/lib/x.so/deep/er"}, {Destination: "/usr/lib/x.so"}},
	}
}

func TestInject(t *testing.T) {
	early, late := t.TempDir(), t.TempDir()
	put(t, early+"/gpu.yaml", gpus)
	put(t, early+"/notes.txt", "no device file")
	put(t, early+"/x.json", `{"cdiVersion":"0.7.0","kind":"a.b/c","devices":[{"name":"x","containerEdits":{"additionalGids":[0,7,9]}},{"name":"y","containerEdits":{"env":["Y=early"]}}]}`)
	put(t, late+"/y.json", `{"cdiVersion":"1.1.0","kind":"a.b/c","devices":[{"name":"y","containerEdits":{"env":["Y=late"],"netDevices":[{"hostInterfaceName":"eth7","name":"eth0"}]}}]}`)
	r := Load([]string{early, late, filepath.Join(late, "missing")})
	if got := strings.Join(r.Names(), " "); got != "a.b/c=x a.b/c=y nvidia.com/gpu=0 nvidia.com/gpu=all" {
		t.Fatalf("devices %s, %v", got, r.broken)
	}
	s := empty()
	if err := r.Inject(s, []string{"nvidia.com/gpu=0", "a.b/c=y", "a.b/c=x", "nvidia.com/gpu=0"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"FILE=1", "X=1", "Y=late"}; !slices.Equal(s.Process.Env, want) {
		t.Errorf("variables %q", s.Process.Env)
	}
	if d := s.Linux.Devices; len(d) != 1 || d[0].Path != "/dev/gpu0" || d[0].Type != "c" || d[0].Major != 1 || d[0].Minor != 3 || *d[0].UID != 7 || d[0].GID != nil {
		t.Errorf("devices %+v", d)
	}
	if d := s.Linux.Resources.Devices; len(d) != 2 || !d[0].Allow || *d[0].Major != 1 || *d[0].Minor != 3 || d[0].Access != "rw" {
		t.Errorf("rules %+v", d)
	}
	if m := s.Mounts; len(m) != 2 || m[0].Source != "/usr/lib/x.so" || m[1].Destination != "/usr/lib/x.so/deep/er" {
		t.Errorf("mounts %+v", m)
	}
	if h := s.Hooks; h == nil || len(h.CreateContainer) != 1 || h.CreateContainer[0].Args[1] != "--x" {
		t.Errorf("hooks %+v", h)
	}
	if g := s.Process.User.AdditionalGids; !slices.Equal(g, []uint32{7, 9}) {
		t.Errorf("groups %v", g)
	}
	if n := s.Linux.NetDevices; n["eth7"].Name != "eth0" {
		t.Errorf("network devices %v", n)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/a.yaml", gpus)
	put(t, dir+"/b.yaml", gpus)
	put(t, dir+"/c.yaml", "kind: [")
	r := Load([]string{dir})
	for name, want := range map[string]string{"nvidia.com/gpu=0": "both have", "a.b/c=d": "unresolvable CDI devices a.b/c=d (not readable: " + dir + "/c.yaml"} {
		if err := r.Inject(empty(), []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	const rest = `"devices":[{"name":"x","containerEdits":{`
	for text, want := range map[string]string{
		`{"cdiVersion":"9.0.0","kind":"a.b/c",` + rest + `}}]}`:                                                               "cdiVersion",
		`{"cdiVersion":"0.5.0","kind":"ab",` + rest + `}}]}`:                                                                  "vendor.com/class",
		`{"cdiVersion":"0.5.0","kind":"a.b/c"}`:                                                                               "no devices",
		`{"cdiVersion":"0.5.0","kind":"a.b/c",` + rest + `"what":1}}]}`:                                                       "unknown field",
		`{"cdiVersion":"0.5.0","kind":"a.b/c",` + rest + `"env":["A"]}}]}`:                                                    "NAME=value",
		`{"cdiVersion":"0.5.0","kind":"a.b/c",` + rest + `"hooks":[{"hookName":"x","path":"/x"}]}}]}`:                         "stage",
		`{"cdiVersion":"0.5.0","kind":"a.b/c",` + rest + `"hooks":[null]}}]}`:                                                 "stage",
		`{"cdiVersion":"0.5.0","kind":"a.b/c",` + rest + `"deviceNodes":[{"path":"x"}]}}]}`:                                   "absolute",
		`{"cdiVersion":"0.5.0","kind":"a.b/c",` + rest + `"mounts":[{"hostPath":"/x","containerPath":"x"}]}}]}`:               "containerPath",
		`{"cdiVersion":"0.5.0","kind":"a.b/c","devices":[{"name":"-","containerEdits":{}}]}`:                                  "device name",
		`{"cdiVersion":"0.5.0","kind":"a.b/c","devices":[{"name":"x","containerEdits":{}},{"name":"x","containerEdits":{}}]}`: "twice",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/gpu.yaml", gpus)
	r, none := Load([]string{dir}), Load(nil)
	gpu := [][]string{{"gpu"}}
	for _, c := range []struct {
		q    container.DeviceRequest
		want string
	}{
		{container.DeviceRequest{Count: -1, Capabilities: gpu}, "nvidia.com/gpu=all"},
		{container.DeviceRequest{Count: 2, Capabilities: gpu}, "nvidia.com/gpu=0 nvidia.com/gpu=1"},
		{container.DeviceRequest{Count: 1 << 62, Capabilities: gpu}, "nvidia.com/gpu=0 nvidia.com/gpu=1 nvidia.com/gpu=2"},
		{container.DeviceRequest{Driver: "nvidia", DeviceIDs: []string{"0", "GPU-1"}}, "nvidia.com/gpu=0 nvidia.com/gpu=GPU-1"},
		{container.DeviceRequest{Driver: "cdi", DeviceIDs: []string{"a.b/c=d"}}, "a.b/c=d"},
		{container.DeviceRequest{Driver: "cdi", Count: 1}, "!unexpected count in CDI device request"},
		{container.DeviceRequest{Driver: "amd", Capabilities: gpu}, `!could not select device driver "amd" with capabilities: [[gpu]]`},
		{container.DeviceRequest{Capabilities: [][]string{{"tpu"}}}, `!could not select device driver "" with capabilities: [[tpu]]`},
	} {
		names, err := r.Resolve([]container.DeviceRequest{c.q})
		got := strings.Join(names, " ")
		if err != nil {
			got = "!" + err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %s", c.q, got)
		}
	}
	if _, err := none.Resolve([]container.DeviceRequest{{Count: -1, Capabilities: gpu}}); err == nil || !strings.Contains(err.Error(), `could not select device driver "" with capabilities: [[gpu]]`) {
		t.Errorf("without a file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(gpus))
	f.Add([]byte(`{"cdiVersion":"0.5.0","kind":"a.b/c","devices":[{"name":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		r := &Registry{devices: map[string]device{}}
		r.add(&file{spec: s})
		for _, d := range r.Names() {
			if err := r.Inject(empty(), []string{d}); err == nil && !strings.Contains(d, "=") {
				t.Errorf("device %q", d)
			}
		}
	})
}
