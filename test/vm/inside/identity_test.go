package inside

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mapped gives the container a user namespace, and its root file system to that namespace's root.
func (b *bundle) mapped() {
	b.t.Helper()
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = m, m
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	b.must(filepath.WalkDir(b.path(""), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, 100000, 100000)
	}))
}

// A volume of the host's root belongs to the container's root by an idmapped mount, both ways, and only in that mount.
func TestIDMappedVolume(t *testing.T) {
	b := newBundle(t)
	b.mapped()
	volume := filepath.Join(b.dir, "volume")
	b.must(os.MkdirAll(volume, 0o755))
	b.must(os.WriteFile(filepath.Join(volume, "old"), nil, 0o644))
	b.spec.Mounts = append(b.spec.Mounts,
		specs.Mount{Destination: "/mapped", Source: volume, Type: "bind", Options: []string{"bind", "idmap"}},
		specs.Mount{Destination: "/plain", Source: volume, Type: "bind", Options: []string{"bind"}})
	b.sh("id -u; stat -c %u /mapped/old /plain/old; touch /mapped/new && stat -c %u /mapped/new; touch /plain/x 2>/dev/null || echo refused")
	if out, code := b.run(); code != 0 || out != "0\n0\n65534\n0\nrefused" {
		t.Errorf("exit code %d: %q", code, out)
	}
	out, err := exec.Command("stat", "-c", "%u", filepath.Join(volume, "new")).Output()
	if err != nil || string(out) != "0\n" {
		t.Errorf("on the host the new file belongs to %q, %v", out, err)
	}
}

// Limits and exec in a user namespace.
func TestUserNamespace(t *testing.T) {
	b := newBundle(t)
	b.mapped()
	b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer(int64(30))}
	b.sh("sleep 1000")
	b.start()
	b.expect(b.group("pids.max"), "30")
	if out := b.runtime("exec", b.id, "sh", "-c", "id -u; cat /proc/self/cgroup; stat -c %u /dev/pts"); out != "0\n0::/\n0" {
		t.Errorf("exec: %q", out)
	}
}

const profile = `profile conex-test flags=(attach_disconnected,mediate_deleted) {
  file,
  signal,
  capability,
  deny /data/** w,
}
`

// The profile is in force at the first instruction of the container's program and of an exec.
func TestAppArmor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(file, []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("apparmor_parser", "--skip-cache", "--replace", file).CombinedOutput(); err != nil {
		t.Fatalf("apparmor_parser: %v: %s", err, out)
	}
	b := newBundle(t)
	const script = "cat /proc/self/attr/current; touch /tmp/x && echo tmp; touch /data/x 2>/dev/null || echo denied"
	b.sh(script + "; sleep 1000")
	b.spec.Process.ApparmorProfile = "conex-test"
	b.start()
	const want = "conex-test (enforce)\ntmp\ndenied"
	b.until("output", func() bool { return strings.Count(b.read(b.out), "\n") == 2 })
	if got := b.read(b.out); got != want {
		t.Errorf("the container: %q", got)
	}
	if got := b.runtime("exec", b.id, "/bin/sh", "-c", script); got != want {
		t.Errorf("exec: %q", got)
	}
	if got := b.runtime("exec", "--apparmor", "unconfined", b.id, "/bin/sh", "-c", script); got != "unconfined\ntmp" {
		t.Errorf("unconfined exec: %q", got)
	}
	c := newBundle(t)
	c.id += "-unknown"
	c.spec.Linux.CgroupsPath += "-unknown"
	c.spec.Process.ApparmorProfile = "conex-no-such-profile"
	c.sh("true")
	if out, code := c.run(); code == 0 || !strings.Contains(out, "conex-no-such-profile") {
		t.Errorf("an unknown profile: %q, exit code %d", out, code)
	}
}
