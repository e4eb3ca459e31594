package security

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Two containers share a volume, and one of them exchanges a directory of it for a symbolic link to "/" while the
// other one is being made with a mount below that directory. runc looked at the path, found it good, and mounted by
// the path (CVE-2021-30465): the attacker's volume came to lie on the host's tree, and with it the host's files in
// the container.
//
// The guard: linux/safepath opens a mount point once, by openat2(2) inside the root, and mounts are moved onto that
// descriptor (runtime/container/mounts.go, linux/mount Tree.Attach).
func TestVolumeRace(t *testing.T) {
	b := newBundle(t)
	dir, intact := canary(t)
	shared := b.dir + "/shared"
	b.must(os.MkdirAll(shared+"/a/b", 0o755))
	b.must(os.Symlink(b.twin(dir), shared+"/l"))
	b.spec.Mounts = append(b.spec.Mounts,
		specs.Mount{Destination: "/vol", Type: "bind", Source: shared, Options: []string{"rbind", "rw"}},
		specs.Mount{Destination: "/vol/a/b", Type: "tmpfs", Source: "attack"})
	b.race(shared+"/a", shared+"/l", func(m *made) {
		// What is in no place that the container can reach lies outside of its root.
		for _, line := range m.mounts() {
			if strings.Contains(line, " attack ") {
				return
			}
		}
		t.Errorf("the mount lies outside of the container's root:\n%s", strings.Join(m.mounts(), "\n"))
	})
	if _, err := os.Stat(dir + "/b"); err == nil {
		t.Error("a mount point was made on the host")
	}
	intact()
}
