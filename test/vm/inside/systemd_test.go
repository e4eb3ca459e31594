package inside

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// systemd is a container whose first process is Debian's systemd, with a part of the cgroup hierarchy as its own. The
// runtime is called in it as on any machine that systemd runs.
type systemd struct {
	*bundle
	nested *bundle // its configuration lies in the container at /nested
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	b := newBundle(t)
	for _, dir := range []string{"usr", "bin", "sbin", "lib", "lib64", "nested"} {
		b.must(os.MkdirAll(b.path(dir), 0o755))
	}
	b.must(os.RemoveAll(b.path("bin")))
	b.must(os.Mkdir(b.path("bin"), 0o755))
	b.must(os.MkdirAll(b.path("etc/systemd/system"), 0o755))
	b.must(os.WriteFile(b.path("etc/systemd/system/default.target"), []byte("[Unit]\nDescription=all that is needed\nDefaultDependencies=no\n"), 0o644))
	b.must(os.WriteFile(b.path("etc/machine-id"), []byte(strings.Repeat("0", 31)+"1\n"), 0o644))
	s := &systemd{bundle: b, nested: newBundle(t)}
	for _, dir := range []string{"usr", "bin", "sbin", "lib", "lib64"} {
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/" + dir, Source: "/" + dir, Type: "bind", Options: []string{"rbind"}})
	}
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/nested", Source: s.nested.dir, Type: "bind", Options: []string{"bind"}},
		specs.Mount{Destination: "/run", Source: "run", Type: "tmpfs", Options: []string{"mode=755"}})
	for i, m := range b.spec.Mounts {
		if m.Type == "cgroup" {
			b.spec.Mounts[i].Options = []string{"nosuid", "noexec", "nodev", "rw"}
		}
	}
	b.spec.Linux.MaskedPaths, b.spec.Linux.ReadonlyPaths = nil, nil
	b.spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	b.spec.Process.Capabilities = everything(b)
	b.spec.Process.NoNewPrivileges = false
	b.spec.Process.Args = []string{"/lib/systemd/systemd"}
	b.spec.Process.Env = append(b.spec.Process.Env, "container=oci", "SYSTEMD_LOG_TARGET=console")
	b.start()
	b.until("systemd is up", func() bool {
		out, _ := b.try("exec", b.id, "systemctl", "is-system-running")
		return strings.HasPrefix(out, "running") || strings.HasPrefix(out, "degraded")
	})
	s.nested.spec.Linux.CgroupsPath = "conex-nested.slice:box:one"
	return s
}

// everything are all capabilities that the machine has.
func everything(b *bundle) *specs.LinuxCapabilities {
	var features struct {
		Linux struct{ Capabilities []string }
	}
	b.must(json.Unmarshal([]byte(b.runtime("features")), &features))
	all := features.Linux.Capabilities
	return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
}

// call runs the runtime in the container, with systemd as the maker of control groups.
func (s *systemd) call(args ...string) string {
	s.t.Helper()
	return s.runtime(append([]string{"exec", "--cwd", "/nested", s.id, program, "--systemd-cgroup", "--log", "/nested/log"}, args...)...)
}

// runNested runs the nested container in the background; what would hold a pipe of ours open is in a file.
func (s *systemd) runNested(id string) (string, error) {
	s.t.Helper()
	out, err := s.try("exec", "--cwd", "/nested", s.id, "/bin/sh", "-c", program+" --systemd-cgroup run --detach "+id+" >/nested/out 2>&1")
	text, _ := os.ReadFile(filepath.Join(s.nested.dir, "out"))
	return out + string(text), err
}

// has asks systemd for a unit's properties.
func (s *systemd) has(unit string, want map[string]string) {
	s.t.Helper()
	out := s.runtime("exec", s.id, "systemctl", "show", "--property", strings.Join(slices.Collect(maps.Keys(want)), ","), unit)
	for name, value := range want {
		if !slices.Contains(strings.Split(out, "\n"), name+"="+value) {
			s.t.Errorf("%s: %s is not %q in\n%s", unit, name, value, out)
		}
	}
}

func TestSystemd(t *testing.T) {
	s := newSystemd(t)
	t.Run("scope", func(t *testing.T) { s.in(t).scope() })
	t.Run("ends", func(t *testing.T) { s.in(t).ends() })
}

// in is the machine as a subtest sees it.
func (s *systemd) in(t *testing.T) *systemd {
	b, n := *s.bundle, *s.nested
	b.t, n.t = t, t
	n.spec.Linux, n.spec.Annotations = pointer(*n.spec.Linux), nil
	n.spec.Linux.Resources = &specs.LinuxResources{}
	return &systemd{&b, &n}
}

// scope: a real systemd makes the group as a scope with the limits of the configuration, knows of an update, keeps all of it over
// a reload, and has forgotten the unit when the container is deleted.
func (s *systemd) scope() {
	n, t := s.nested, s.t
	r := n.spec.Linux.Resources
	r.Memory = &specs.LinuxMemory{Limit: pointer(int64(64 * mib))}
	r.Pids = &specs.LinuxPids{Limit: pointer(int64(20))}
	r.CPU = &specs.LinuxCPU{Quota: pointer(int64(50000)), Period: pointer(uint64(100000)), Cpus: "0"}
	r.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	n.spec.Annotations = map[string]string{"org.systemd.property.TimeoutStopUSec": "uint64 7000000"}
	n.sh("sleep 1000")
	n.write()
	if out, err := s.runNested("one"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	const scope = "box-one.scope"
	s.has(scope, map[string]string{
		"ActiveState": "active", "Slice": "conex-nested.slice", "ControlGroup": "/conex.slice/conex-nested.slice/" + scope, "Delegate": "yes",
		"MemoryMax": fmt.Sprint(64 * mib), "TasksMax": "20", "CPUQuotaPerSecUSec": "500ms", "AllowedCPUs": "0", "TimeoutStopUSec": "7s", "DevicePolicy": "strict",
	})
	group := filepath.Join(s.group(""), "conex.slice/conex-nested.slice", scope)
	s.expect(group+"/memory.max", fmt.Sprint(64*mib))
	s.expect(group+"/pids.max", "20")
	s.expect(group+"/cpu.max", "50000 100000")
	if got := s.call("exec", "one", "sh", "-c", "cat /proc/self/cgroup; sleep 0; echo >/dev/null && echo device"); got != "0::/\ndevice" {
		t.Errorf("the nested container: %q", got)
	}

	s.call("update", "--memory", fmt.Sprint(32*mib), "--memory-swap", "-1", "--pids-limit", "30", "one")
	s.runtime("exec", s.id, "systemctl", "daemon-reload")
	s.has(scope, map[string]string{"MemoryMax": fmt.Sprint(32 * mib), "TasksMax": "30", "ActiveState": "active"})
	s.expect(group+"/memory.max", fmt.Sprint(32*mib))
	s.expect(group+"/pids.max", "30")
	if got := s.call("exec", "one", "sh", "-c", "echo >/dev/null && echo device"); got != "device" {
		t.Errorf("after a reload: %q", got)
	}

	s.call("pause", "one")
	s.expect(group+"/cgroup.freeze", "1")
	s.call("resume", "one")
	s.call("delete", "--force", "one")
	s.has(scope, map[string]string{"LoadState": "not-found", "ActiveState": "inactive"})
	if _, err := os.Stat(group); err == nil {
		t.Error("the group is left")
	}
}

// ends: a unit of the name that runs is not taken over, and an end that systemd brings is seen.
func (s *systemd) ends() {
	t := s.t
	s.nested.sh("sleep 1000") // it does not heed SIGTERM, and is killed in the end
	s.nested.spec.Annotations = map[string]string{"org.systemd.property.TimeoutStopUSec": "uint64 500000"}
	s.nested.write()
	if out, err := s.runNested("one"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := s.runNested("two"); err == nil || !strings.Contains(out, "box-one.scope") {
		t.Errorf("a second container in the scope: %v: %s", err, out)
	}
	s.has("box-one.scope", map[string]string{"ActiveState": "active"})
	s.runtime("exec", s.id, "systemctl", "stop", "box-one.scope")
	s.until("the end", func() bool { return strings.Contains(s.call("state", "one"), `"stopped"`) })
	s.call("delete", "one")
	s.has("box-one.scope", map[string]string{"LoadState": "not-found"})
}
