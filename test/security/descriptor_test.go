package security

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// runc left a descriptor of a directory of the host open, and took the working directory /proc/self/fd/7 for one of
// the container: its process began outside of the root, with the host's file system at "..". The path came from the
// configuration, from `exec --cwd`, or from an image whose WORKDIR is a link to it (CVE-2024-21626).
//
// The guards: the process closes all descriptors but those that it is given before it enters anything (runtime/child
// steps.go inherit); after chdir(2) getcwd(2) has to say a path that is inside the root (privilege.go cwd).
func TestDescriptorOfTheHost(t *testing.T) {
	b := newBundle(t)
	b.sh("ls -a .. ; readlink /proc/self/cwd")
	for n := 3; n <= 64; n++ {
		b.spec.Process.Cwd = "/proc/self/fd/" + strconv.Itoa(n)
		if r := b.run(); r.Code == 0 {
			t.Errorf("run in %s: %s", b.spec.Process.Cwd, r.Out)
		}
	}
	for _, target := range []string{"/proc/self/fd/7", "/proc/self/fd/8/../../..", "/proc/self/cwd/../../.."} {
		_ = os.Remove(b.path("work"))
		b.must(os.Symlink(target, b.path("work")))
		b.spec.Process.Cwd = "/work"
		if r := b.run(); r.Code == 0 && strings.Contains(r.Out, "vmlinuz") {
			t.Errorf("run in a link to %s: %s", target, r.Out)
		}
	}
	b.spec.Process.Cwd, b.spec.Process.Args = "/", []string{"sleep", "1000"}
	m := b.start()
	for n := 3; n <= 64; n++ {
		cwd := "/proc/self/fd/" + strconv.Itoa(n)
		if r := m.exec("--cwd", cwd, "ls", "-a", ".."); r.Code == 0 {
			t.Errorf("exec in %s: %s", cwd, r.Out)
		}
	}
}

// What the program has open, in a run and in an exec, is what it was given. A descriptor of the test's own, left open
// without O_CLOEXEC on purpose, must not come through.
func TestNoDescriptorComesThrough(t *testing.T) {
	b := newBundle(t)
	b.sh("ls /proc/self/fd")
	// ls itself has its directory open, as 3.
	const want = "0\n1\n2\n3\n"
	b.save()
	if r := b.runtimeWithDirectory("run", "-b", b.dir, b.id()); r.Out != want {
		t.Errorf("run: descriptors %q, %s", r.Out, r.Err)
	}
	b.spec.Process.Args = []string{"sleep", "1000"}
	m := b.start()
	if r := b.runtimeWithDirectory("exec", m.id, "ls", "/proc/self/fd"); r.Out != want {
		t.Errorf("exec: descriptors %q, %s", r.Out, r.Err)
	}
	links, err := os.ReadDir("/proc/" + strconv.Itoa(m.pid) + "/fd")
	b.must(err)
	if len(links) != 3 {
		t.Errorf("the first process has %d descriptors", len(links))
	}
	// The control: the descriptor was there to come through.
	if r := withDirectory(t, "ls", "/proc/self/fd"); !strings.Contains(r.Out, "\n9\n") {
		t.Errorf("the control has descriptors %q, %s", r.Out, r.Err)
	}
}
