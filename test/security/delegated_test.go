package security

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A container with a user namespace but without a cgroup namespace got the host's control groups writable, and with
// them those that are delegated to the host's user which is root inside: a rootless user's whole session
// (CVE-2023-25809).
//
// The guard: without a cgroup namespace the v1 hierarchies show the container's own group alone and cgroup v2 is
// mounted read-only (runtime/container/cgroupmount.go).
func TestDelegatedGroups(t *testing.T) {
	const root = 100000
	b := newBundle(t)
	parents := []string{"/sys/fs/cgroup"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		parents, _ = filepath.Glob("/sys/fs/cgroup/*/tasks")
		for i := range parents {
			parents[i] = filepath.Dir(parents[i])
		}
	}
	name := filepath.Base(b.dir) + "-delegated"
	delegated := ""
	for _, p := range parents {
		dir := filepath.Join(p, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		delegated = dir
		t.Cleanup(func() { b.must(os.Remove(dir)) })
		for _, file := range []string{"", "cgroup.procs"} {
			b.must(os.Chown(filepath.Join(dir, file), root, root))
		}
	}
	if delegated == "" {
		t.Fatal("no group could be made to be delegated")
	}
	// The control: that user of the host may use the groups.
	user := exec.Command("mkdir", filepath.Join(delegated, "x"))
	user.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: root, Gid: root}}
	b.must(user.Run())
	b.must(os.Remove(filepath.Join(delegated, "x")))
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: root, Size: 65536}}
	b.spec.Linux.UIDMappings, b.spec.Linux.GIDMappings = mapping, mapping
	b.spec.Linux.Namespaces = slices.DeleteFunc(b.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.CgroupNamespace })
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	b.without("/sys/fs/cgroup")
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"rw", "nosuid", "noexec", "nodev"}})
	b.must(os.Chown(b.path("vol"), root, root))
	b.sh(fmt.Sprintf("id -u; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/%s/x && echo ESCAPED $d; echo 0 > $d/%[1]s/cgroup.procs && echo ENTERED $d; done; true", name))
	r := b.run().OK()
	if !strings.HasPrefix(r.Out, "0\n") || strings.Contains(r.Out, "ESCAPED") || strings.Contains(r.Out, "ENTERED") {
		t.Errorf("%s%s", r.Out, r.Err)
	}
}
