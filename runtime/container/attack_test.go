package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// canary is a directory of the host that nothing may get into.
func (f *fixture) canary() string {
	f.t.Helper()
	dir := filepath.Join(f.bundle, "canary")
	f.must(os.MkdirAll(dir, 0o755))
	f.t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			f.t.Errorf("the host's directory has got %v, %v", left, err)
		}
	})
	return dir
}

// CVE-2024-21626: a working directory through a leaked descriptor of the host.
func TestCwdThroughDescriptor(t *testing.T) {
	f := newFixture(t)
	for n := range 40 {
		f.spec.Process.Cwd = fmt.Sprintf("/proc/self/fd/%d", n)
		f.sh("echo escaped; ls")
		if _, err := f.create(); err == nil {
			t.Fatalf("cwd %s: created", f.spec.Process.Cwd)
		}
	}
	f.must(os.Symlink("/proc/self/fd/7/../../..", f.path("work")))
	f.spec.Process.Cwd = "/work"
	if _, err := f.create(); err == nil {
		t.Fatal("cwd by a link of the image: created")
	}
}

// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc or /sys of the image is a link.
func TestProcIsLink(t *testing.T) {
	for _, name := range []string{"proc", "sys"} {
		f := newFixture(t)
		f.must(os.Remove(f.path(name)))
		f.must(os.Mkdir(f.path("evil"), 0o755))
		f.must(os.Symlink("/evil", f.path(name)))
		f.sh("echo started")
		if _, err := f.create(); err == nil || !strings.Contains(err.Error(), "must be mounted on ordinary directory") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// CVE-2026-41579, CVE-2019-18837: /dev of the image leads out of it.
func TestDevIsLink(t *testing.T) {
	f := newFixture(t)
	dir := f.canary()
	f.must(os.Remove(f.path("dev")))
	f.must(os.Symlink("../../../../../../../.."+dir, f.path("dev")))
	for _, m := range f.spec.Mounts {
		f.spec.Mounts = nil
		if m.Destination == "/proc" {
			f.spec.Mounts = []specs.Mount{m}
			break
		}
	}
	f.sh("echo started")
	if r, err := f.create(); err == nil || !strings.Contains(err.Error(), "ordinary directory") {
		t.Errorf("%v, %v", r, err)
	}
}

// CVE-2025-31133: /dev/null of the image is a link to a file of proc, which a mask would hand out.
func TestNullIsLink(t *testing.T) {
	f := newFixture(t)
	f.must(os.Symlink("/proc/sys/kernel/core_pattern", f.path("dev/null")))
	var keep []specs.Mount
	for _, m := range f.spec.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			keep = append(keep, m)
		}
	}
	f.spec.Mounts = keep
	f.sh("stat -c %t:%T /proc/keys")
	if r, err := f.create(); err == nil {
		t.Errorf("a container with %v", r.ID())
	}
	// Where nothing asks for the node, masks still are the host's null device.
	f.must(os.Remove(f.path("dev/null")))
	f.expect("stat -c %t:%T /proc/keys", "1:3")
}

// CVE-2021-30465 without the race: a mount point that leads out of the root.
func TestMountPointIsLink(t *testing.T) {
	f := newFixture(t)
	dir := f.canary()
	f.must(os.Symlink(dir, f.path("out")))
	f.must(os.Symlink("/..", f.path("up")))
	f.spec.Mounts = append(f.spec.Mounts,
		specs.Mount{Destination: "/up/up" + dir + "/a", Type: "tmpfs", Source: "tmpfs"},
		specs.Mount{Destination: "/up/../../etc/b", Type: "tmpfs", Source: "tmpfs"})
	f.expect("grep -c canary /proc/self/mountinfo; ls -d /etc/b", "1\n/etc/b")
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

// Ids that leave the state directory.
func TestBadIDs(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", "a b", "a\x00"} {
		o := f.options(nil)
		o.ID = id
		if _, err := Create(t.Context(), o); err == nil {
			t.Errorf("id %q was taken", id)
		}
		if _, err := Load(f.root, id); err == nil {
			t.Errorf("id %q was loaded", id)
		}
	}
}
