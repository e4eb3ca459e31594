package security

import (
	"os"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The image's /dev is a symbolic link to a directory of the host, and the configuration mounts nothing there: the
// default devices, ptmx, and the links fd, stdin, stdout and stderr were made on the host (runc CVE-2026-41579, crun
// CVE-2026-47766; CVE-2019-18837 before).
//
// The guard: devices and links are made in a directory that linux/safepath opened inside the root
// (runtime/container/devices.go device, link).
func TestDevIsLink(t *testing.T) {
	for kind, target := range map[string]func(dir string) string{
		"absolute": func(dir string) string { return dir },
		"climbing": func(dir string) string { return "../../../../../../../../.." + dir },
		"through":  func(dir string) string { return "/proc/1/root" + dir },
	} {
		t.Run(kind, func(t *testing.T) {
			b := newBundle(t)
			dir, intact := canary(t)
			b.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
			b.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/new/device", Type: "c", Major: 1, Minor: 3}}
			b.must(os.Remove(b.path("dev")))
			b.must(os.Symlink(target(dir), b.path("dev")))
			b.sh("true")
			b.run() // refusing it and making the devices inside are both right
			intact()
		})
	}
}

// The same with a racer.
func TestDevRace(t *testing.T) {
	b := newBundle(t)
	dir, intact := canary(t)
	b.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
	b.must(os.Symlink(b.twin(dir), b.path("link")))
	b.race(b.path("dev"), b.path("link"), func(*made) {
		for _, d := range []string{b.path("dev"), b.path("link")} {
			if st, err := os.Lstat(d); err == nil && st.IsDir() {
				_ = os.Remove(d + "/ptmx") // so that something has to be made each time
				_ = os.Remove(d + "/null")
			}
		}
	})
	intact()
}
