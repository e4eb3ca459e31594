package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/capability"
)

var update = flag.Bool("update", false, "write the golden files")

var known = capability.All()

func host() Host {
	return Host{
		Known: known, Capabilities: known, SwapLimit: true, Hostname: "machine", Queues: true,
		Seccomp: func(*specs.Spec) (*specs.LinuxSeccomp, error) {
			return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno}, nil
		},
		Devices: []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}},
	}
}

func input() *Input {
	return &Input{
		ID:         "0123456789abcdef",
		Config:     &container.Config{Hostname: "box", Env: []string{"A=1", "PATH=/bin"}},
		HostConfig: &container.HostConfig{NetworkMode: "bridge", IpcMode: "private", CgroupnsMode: "host"},
		Path:       "sh", Args: []string{"-c", "true"},
		User:     User{Groups: []uint32{0}, Home: "/root"},
		Files:    Files{Hosts: "/c/hosts", Hostname: "/c/hostname", ResolvConf: "/c/resolv.conf"},
		Host:     host(),
		Defaults: Defaults{CgroupParent: "conex", InitPath: "/usr/bin/conex-runtime"},
	}
}

// TestGolden compares whole specifications with testdata; `go test -update` writes them anew, to be read in a diff.
func TestGolden(t *testing.T) {
	yes := true
	pids := int64(50)
	for name, change := range map[string]func(*Input){
		"plain": func(*Input) {},
		"privileged": func(in *Input) {
			in.HostConfig.Privileged = true
		},
		"limits": func(in *Input) {
			in.HostConfig.Resources = container.Resources{
				Memory: 64 << 20, NanoCPUs: 5e8, PidsLimit: &pids, CPUShares: 1, CpusetCpus: "0-1", BlkioWeight: 100,
				Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}, DeviceCgroupRules: []string{"c 10:* rm"},
			}
			in.HostConfig.OomScoreAdj = 5
		},
		"terminal-init-user": func(in *Input) {
			in.Config.Tty, in.HostConfig.Init = true, &yes
			in.HostConfig.ConsoleSize = [2]uint{24, 80}
			in.User = User{UID: 1000, GID: 1000, Groups: []uint32{1000}, Home: "/home/app"}
			in.Security.NoNewPrivileges = true
			in.Config.WorkingDir = "/home/app"
		},
		"host-modes": func(in *Input) {
			in.HostConfig.NetworkMode, in.HostConfig.PidMode, in.HostConfig.UTSMode, in.HostConfig.IpcMode = "host", "host", "host", "host"
			in.HostConfig.CgroupnsMode = "private"
		},
		"mounts": func(in *Input) {
			in.HostConfig.ReadonlyRootfs = true
			in.Mounts = []Mount{
				{Type: "bind", Source: "/deep", Destination: "/a/b/c", Options: []string{"rbind", "rprivate"}},
				{Type: "bind", Source: "/top", Destination: "/a", Options: []string{"rbind", "rshared", "ro"}},
				{Type: "tmpfs", Destination: "/dev/shm", Options: []string{"size=1m"}},
				{Type: "bind", Source: "/my/hosts", Destination: "/etc/hosts", Options: []string{"rbind"}},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := input()
			change(in)
			s, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(append(got, '\n'), want) {
				t.Errorf("differs from %s:\n%s", path, got)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	few := []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"}
	for _, c := range []struct {
		add, drop  []string
		privileged bool
		want       []string
		err        string
	}{
		{want: DefaultCapabilities()},
		{drop: []string{"ALL"}, want: nil},
		{drop: []string{"all"}, add: []string{"chown"}, want: []string{"CAP_CHOWN"}},
		{add: []string{"ALL"}, drop: []string{"KILL"}, want: []string{"CAP_CHOWN", "CAP_NET_ADMIN"}},
		{privileged: true, want: few},
		{add: []string{"NOPE"}, err: `invalid CapAdd: unknown capability: "CAP_NOPE"`},
		{drop: []string{"nope"}, err: `invalid CapDrop: unknown capability: "CAP_NOPE"`},
		{add: []string{"SYS_TIME"}, err: `not available in the current environment: "CAP_SYS_TIME"`},
	} {
		got, err := Capabilities(c.add, c.drop, c.privileged, Host{Known: known, Capabilities: few})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v %v: error %v, want %s", c.add, c.drop, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%v %v: %v %v", c.add, c.drop, got, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := Environment(true, "box", "/home/a", nil, []string{"B=2", "PATH=/x", "TERM", "C="})
	want := []string{"PATH=/x", "HOSTNAME=box", "B=2", "C=", "HOME=/home/a"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestParseSecurity(t *testing.T) {
	got, err := ParseSecurity([]string{"no-new-privileges:false", "seccomp=unconfined", "systempaths=unconfined", "label=disable"}, true)
	if err != nil || !reflect.DeepEqual(got, Security{Seccomp: "unconfined", SystemPathsUnconfined: true}) {
		t.Errorf("%+v %v", got, err)
	}
	for opt, want := range map[string]string{
		"apparmor=mine": "AppArmor is not enabled", "label=type:a_t": "SELinux is not enabled", "writable-cgroups=true": "needs cgroup v2",
		"apparmor=unconfined": "", "label=disable": "", "writable-cgroups=false": "",
	} {
		s, err := ParseSecurity([]string{opt}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(Host{}, true); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", opt, err)
		}
		if err := s.Check(Host{AppArmor: true, CgroupV2: true}, true); (err == nil) != (opt != "label=type:a_t") {
			t.Errorf("%s where it is: %v", opt, err)
		}
	}
	for _, bad := range []string{"label=type", "label=what:x", "what", "what=x", "no-new-privileges=perhaps", "seccomp=/a/file", "systempaths=x"} {
		if _, err := ParseSecurity([]string{bad}, false); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestSeccompProfileIsCached(t *testing.T) {
	var c SeccompCache
	s := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: DefaultCapabilities()}}, Linux: &specs.Linux{}}
	a, err := c.Default(s)
	if err != nil || len(a.Syscalls) < 3 {
		t.Fatalf("%v %v", a, err)
	}
	b, err := c.Default(s)
	if err != nil || a != b {
		t.Error("the profile was made twice")
	}
	s.Process.Capabilities.Bounding = []string{"CAP_SYS_ADMIN"}
	if b, err = c.Default(s); err != nil || a == b {
		t.Error("another capability set has the same profile")
	}
}

func FuzzParseDeviceRule(f *testing.F) {
	f.Add("c 10:* rwm")
	f.Add("a *:* r")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseDeviceRule(text)
		if err == nil && (r.Major == nil || r.Minor == nil || *r.Major < -1 || *r.Minor < -1 || r.Access == "" || !strings.Contains("abc", r.Type)) {
			t.Errorf("%q: %+v", text, r)
		}
	})
}
