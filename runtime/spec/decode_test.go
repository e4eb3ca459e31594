package spec

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// plain is a configuration as an engine writes it, with every object that the reader knows.
func plain(t testing.TB) []byte {
	t.Helper()
	s := Example(false)
	one, mode, id, yes := int64(1), uint64(7), uint32(8), true
	adj := -500
	s.Process.OOMScoreAdj = &adj
	s.Process.User = specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3, 4}}
	s.Process.Env = append(s.Process.Env, "QUOTED=\"a\\b\"\t<&>\u00fc")
	s.Annotations = map[string]string{"a": "b", "c": ""}
	s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/x", Timeout: &adj}}}
	s.Linux.CgroupsPath = "/a/b"
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: 1, Minor: 3, UID: &id}}
	s.Linux.Resources = &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}, {Allow: true, Type: "c", Major: &one, Minor: &one}},
		Memory:  &specs.LinuxMemory{Limit: &one, Swappiness: &mode, DisableOOMKiller: &yes},
		CPU:     &specs.LinuxCPU{Shares: &mode, Quota: &one, Cpus: "0-1"},
		Pids:    &specs.LinuxPids{Limit: &one},
		BlockIO: &specs.LinuxBlockIO{ThrottleReadBpsDevice: []specs.LinuxThrottleDevice{{Rate: 5}}},
	}
	errno := uint(38)
	s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno,
		Architectures: []specs.Arch{specs.ArchX86_64}, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write"}, Action: specs.ActAllow},
			{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 1 << 63, Op: specs.OpEqualTo}}}}}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeReadsWhatEnginesWrite(t *testing.T) {
	b := plain(t)
	r := &reader{text: b}
	got := r.spec()
	if !r.end() {
		t.Fatalf("the reader gave up at %d: %.60q", r.at, b[r.at:])
	}
	want := &specs.Spec{}
	if err := json.Unmarshal(b, want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		g, _ := json.Marshal(got)
		t.Errorf("got  %s\nwant %s", g, b)
	}
}

func TestDecodeLeavesTheRestToTheLibrary(t *testing.T) {
	for _, text := range []string{
		`{"windows": {}}`, `{"OCIVersion": "1.0.2"}`, `{"process": null}`, `{"x": 1, "ociVersion": "1"}`,
		`{"process": {"scheduler": {"policy": "SCHED_OTHER"}}}`, `{"hostname": "a", "hostname": "b"}`,
	} {
		r := &reader{text: []byte(text)}
		if r.spec(); r.end() {
			t.Errorf("%s: the reader took it", text)
		}
		want := &specs.Spec{}
		wantErr := json.Unmarshal([]byte(text), want)
		got, err := Decode([]byte(text))
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v, %v", text, got, err, want, wantErr)
		}
	}
}

func TestEncodeProcess(t *testing.T) {
	s := &specs.Spec{}
	if err := json.Unmarshal(plain(t), s); err != nil {
		t.Fatal(err)
	}
	umask := uint32(0o27)
	for _, p := range []*specs.Process{s.Process, {Cwd: "/"}, {User: specs.User{Umask: &umask}, ConsoleSize: &specs.Box{Width: 3}},
		{Args: []string{"\u00fc", "\"", "\n", "\x7f"}, Terminal: true, NoNewPrivileges: true, ApparmorProfile: "a", SelinuxLabel: "b"}} {
		b, err := EncodeProcess(p)
		if err != nil {
			t.Fatal(err)
		}
		for name, decode := range map[string]func([]byte) (*specs.Process, error){"own": DecodeProcess,
			"library": func(b []byte) (*specs.Process, error) { q := &specs.Process{}; return q, json.Unmarshal(b, q) }} {
			if got, err := decode(b); err != nil || !reflect.DeepEqual(got, p) {
				t.Errorf("%s reads %s as %+v, %v", name, b, got, err)
			}
		}
	}
}

// FuzzDecode holds the reader to encoding/json: what it takes the library takes too, and reads the same.
func FuzzDecode(f *testing.F) {
	f.Add(plain(f))
	for _, text := range []string{`{}`, ``, `{"process":{"args":["a"],"cwd":"/"}}`, `{"linux":{"resources":{"memory":{"limit":-1}}}}`,
		`{"hostname":"a\u0041"}`, `{"mounts":[]}`, `{"mounts":[{"uidMappings":[{"size":1}]}]} `, `{"process":{"oomScoreAdj":01}}`,
		`{"linux":{"unified":{"a":"b"}}}`, `{"annotations":{"a":"\x7f"}}`, "{\"hostname\":\"\xff\"}", `{"hostname":"x"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &reader{text: b}
		got := r.spec()
		if !r.end() {
			return
		}
		want := &specs.Spec{}
		if err := json.Unmarshal(b, want); err != nil {
			t.Fatalf("%q: the library refuses it: %v", b, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %+v, want %+v", b, got, want)
		}
	})
}
