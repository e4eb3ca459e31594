package security

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The runtime covers files of /proc by the container's /dev/null. The image, or who shares its directory, puts a link
// to another file of /proc there, and the runtime binds that over the masked path, writable: /proc/sys/kernel/core_pattern
// or /proc/sysrq-trigger for the container (CVE-2025-31133).
//
// The guards: masks are the host's /dev/null, opened once and checked to be the character device 1:3
// (runtime/container/devices.go nullDevice), and a /dev/null of the image is only accepted when it is one (sameDevice).
func TestMaskRace(t *testing.T) {
	hostFile(t, "/proc/sys/kernel/core_pattern")
	b := newBundle(t)
	b.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
	b.must(unix.Mknod(b.path("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	b.must(os.Symlink("/proc/sys/kernel/core_pattern", b.path("dev/evil")))
	b.race(b.path("dev/null"), b.path("dev/evil"), func(m *made) {
		if !isNull(m.inside("/proc/keys")) {
			t.Errorf("/proc/keys is not covered by the null device:\n%s", strings.Join(m.mounts(), "\n"))
		}
	})
}

// A mount point moves with the directory that it is: who shares the directory of the image exchanges /proc for an empty
// one when the runtime has mounted its proc there, and the masks find nothing to cover, while the real proc lies bare
// under another name (the race of CVE-2019-19921 and CVE-2023-27561).
//
// The guard: masked and read-only paths below a proc or sysfs are looked up from that mount (runtime/container/hide.go
// open), wherever its mount point is by now.
func TestProcMovedAway(t *testing.T) {
	hostFile(t, "/proc/sys/kernel/core_pattern")
	b := newBundle(t)
	b.must(os.Mkdir(b.path("evil"), 0o755))
	b.race(b.path("proc"), b.path("evil"), func(m *made) {
		// By the ids of the mounts: names change while this looks.
		proc, covered := map[string]bool{}, map[string]bool{}
		for _, line := range m.mounts() {
			f := strings.Fields(line)
			if strings.Contains(line, " - proc ") && f[3] == "/" {
				proc[f[0]] = true
			}
			if f[3] == "/null" && strings.HasSuffix(f[4], "/keys") {
				covered[f[1]] = true
			}
		}
		for id := range proc {
			if !covered[id] {
				t.Errorf("mount %s is a proc without masks:\n%s", id, strings.Join(m.mounts(), "\n"))
			}
		}
		if len(proc) == 0 {
			t.Errorf("no proc:\n%s", strings.Join(m.mounts(), "\n"))
		}
	})
}
