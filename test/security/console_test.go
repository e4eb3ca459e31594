package security

import (
	"net"
	"os"
	"strings"
	"testing"
)

// The runtime binds the container's terminal, /dev/pts/N, over /dev/console. A racer puts a link in the place of
// either, and the runtime binds a file of /proc, before the masks come (CVE-2025-52565).
//
// The guard: the slave is the descriptor that TIOCGPTPEER gave for the master, and its mount is moved onto a descriptor
// opened inside the root (runtime/container/devices.go terminal, linux/pty).
func TestConsoleRace(t *testing.T) {
	hostFile(t, "/proc/sys/kernel/core_pattern")
	b := newBundle(t)
	b.without("/dev", "/dev/shm", "/dev/mqueue")
	b.must(os.WriteFile(b.path("dev/console"), nil, 0o600))
	b.must(os.Symlink("/proc/sys/kernel/core_pattern", b.path("dev/evil")))
	b.must(os.Mkdir(b.path("dev/pts"), 0o755))
	b.must(os.Mkdir(b.path("dev/fake"), 0o755))
	b.must(os.Symlink("/proc/sys/kernel/core_pattern", b.path("dev/fake/0")))
	stop, _ := exchange(t, b.path("dev/pts"), b.path("dev/fake"))
	defer stop()
	b.spec.Process.Terminal = true
	socket := b.dir + "/console"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	b.must(err)
	defer func() { _ = l.Close() }()
	go func() {
		// Neither read nor closed at once: with its master a terminal hangs up, which ends the container.
		var held []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			if held = append(held, c); len(held) > 32 {
				_ = held[0].Close()
				held = held[1:]
			}
		}
		for _, c := range held {
			_ = c.Close()
		}
	}()
	b.race(b.path("dev/console"), b.path("dev/evil"), func(m *made) {
		consoles := 0
		for _, line := range m.mounts() {
			f := strings.Fields(line)
			if !strings.HasSuffix(f[4], "/console") && !strings.HasSuffix(f[4], "/evil") && !strings.HasSuffix(f[4], "core_pattern") {
				continue
			}
			// A slave, by its mount: the names change while this looks.
			if consoles++; !strings.Contains(line, " - devpts ") || f[3] == "/" {
				t.Errorf("what is on %s is no terminal:\n%s", f[4], strings.Join(m.mounts(), "\n"))
			}
		}
		if consoles == 0 {
			t.Errorf("no console:\n%s", strings.Join(m.mounts(), "\n"))
		}
	}, "--console-socket", socket)
}
