package spec

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestExampleIsValid(t *testing.T) {
	for _, rootless := range []bool{false, true} {
		b, err := json.Marshal(Example(rootless))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); err != nil {
			t.Errorf("rootless %v: %v", rootless, err)
		}
	}
}

func TestRefused(t *testing.T) {
	cases := map[string]struct {
		change func(*specs.Spec)
		want   string
	}{
		"version":      {func(s *specs.Spec) { s.Version = "2.0.0" }, "ociVersion"},
		"no args":      {func(s *specs.Spec) { s.Process.Args = nil }, "process.args"},
		"relative cwd": {func(s *specs.Spec) { s.Process.Cwd = "tmp" }, "absolute"},
		"rlimit":       {func(s *specs.Spec) { s.Process.Rlimits[0].Type = "RLIMIT_X" }, "invalid rlimit type"},
		"host sysctl":  {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.core_pattern": "x"} }, "separate kernel namespace"},
		"smuggled":     {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.shmmax": "1\nkernel.core_pattern=x"} }, "one line"},
		"upwards":      {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net/../kernel/core_pattern": "x"} }, "no sysctl name"},
		"twice":        {func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) }, "twice"},
		"user maps":    {func(s *specs.Spec) { s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}} }, "user namespace"},
		"long device":  {func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"a123456789012345": {}} }, "invalid network device name"},
		"device path":  {func(s *specs.Spec) { s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "a/b"}} }, "invalid network device name"},
		"same devices": {func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {}, "b": {Name: "eth0"}}
		}, "two devices"},
		"user sysctl": {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"user.max_user_namespaces": "9"} }, "ucounts"},
		"hostname":    {func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.hostname": "x"} }, "conflicts"},
		"our network": {func(s *specs.Spec) {
			s.Linux.Namespaces[1].Path = "/proc/self/ns/net"
			s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		}, "not allowed in host network namespace"},
	}
	for name, c := range cases {
		s := Example(false)
		c.change(s)
		if err := Validate(s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want ...%s...", name, err, c.want)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":             "net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.1/forwarding": "net/ipv4/conf/eth0.1/forwarding",
		"net.ipv4.conf.eth0/1.forwarding": "net/ipv4/conf/eth0.1/forwarding",
	} {
		if got, err := SysctlPath(key); err != nil || got != want {
			t.Errorf("%s: got %s, %v", key, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	b, err := json.Marshal(Example(false))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Parse(b) })
}

func FuzzSysctlPath(f *testing.F) {
	f.Add("net.ipv4.ip_forward")
	f.Fuzz(func(t *testing.T, key string) {
		p, err := SysctlPath(key)
		if err == nil && (strings.HasPrefix(p, "/") || strings.Contains("/"+p+"/", "/../")) {
			t.Fatalf("%q -> %q", key, p)
		}
	})
}

// The document has every section that features.md knows, and tells of nothing by its absence.
func TestFeatures(t *testing.T) {
	b, err := json.Marshal(Features())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Linux map[string]json.RawMessage `json:"linux"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "memoryPolicy",
		"mountExtensions", "netDevices"} {
		if len(doc.Linux[section]) == 0 {
			t.Errorf("no section %s", section)
		}
	}
	if strings.Contains(string(b), "null") {
		t.Errorf("something is null in %s", b)
	}
}
