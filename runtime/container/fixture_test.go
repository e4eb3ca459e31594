package container

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/runtime/spec"
)

// scratch is a place for bundles outside of tmpfs, as real ones are.
const scratch = "/tmp/conex/runtime"

// fixture is a bundle with a busybox root, and a state directory.
type fixture struct {
	t      testing.TB
	bundle string
	root   string // of the states
	spec   *specs.Spec

	noPivot bool
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("containers of the host's root need root")
	}
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(scratch, "test-")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, bundle: dir, root: filepath.Join(dir, "state"), spec: spec.Example(false)}
	t.Cleanup(func() {
		// Descriptor 0 is what a forgotten "none" closes.
		if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
			t.Errorf("descriptor 0: %v", err)
		}
		_ = os.RemoveAll(dir)
		parents, _ := filepath.Glob("/sys/fs/cgroup/*/conex-test-runtime")
		for _, p := range parents {
			_ = os.Remove(p)
		}
	})
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp"} {
		f.must(os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755))
	}
	f.must(os.Chmod(filepath.Join(dir, "rootfs", "tmp"), 0o1777))
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static /bin/busybox")
	}
	f.must(os.WriteFile(f.path("bin/busybox"), b, 0o755))
	for _, applet := range []string{"sh", "true", "cat", "id", "sleep", "ls", "echo", "grep", "mount", "hostname", "stat", "tty", "kill", "ps", "wc", "dd", "mkdir", "touch", "ip", "cut", "tr", "sed", "head"} {
		f.must(os.Symlink("busybox", f.path("bin/"+applet)))
	}
	f.must(os.WriteFile(f.path("etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"), 0o644))
	f.spec.Process.Terminal = false
	f.spec.Root.Readonly = false
	f.spec.Linux.CgroupsPath = "/conex-test-runtime/" + filepath.Base(dir)
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) path(name string) string { return filepath.Join(f.bundle, "rootfs", name) }

func (f *fixture) sh(script string) { f.spec.Process.Args = []string{"sh", "-c", script} }

func (f *fixture) options(out *os.File) Options {
	return Options{ID: "c1", Root: f.root, Bundle: f.bundle, Spec: f.spec, NoPivot: f.noPivot, Stdio: [3]*os.File{nil, out, out}}
}

// running is a container with its output.
type running struct {
	*Container
	t    testing.TB
	out  *os.File
	done bool
}

func (f *fixture) create() (*running, error) {
	f.t.Helper()
	out, err := os.CreateTemp(f.bundle, "out-")
	f.must(err)
	c, err := Create(context.Background(), f.options(out))
	if err != nil {
		_ = out.Close()
		return nil, err
	}
	r := &running{Container: c, t: f.t, out: out}
	f.t.Cleanup(r.cleanup)
	return r, nil
}

func (r *running) cleanup() {
	if !r.done {
		if err := r.Delete(context.Background(), true); err != nil {
			r.t.Errorf("clean-up: %v", err)
		}
	}
	_ = r.out.Close()
}

// wait reaps the first process.
func (r *running) wait() syscall.WaitStatus {
	r.t.Helper()
	return wait(r.t, r.Pid())
}

func wait(t testing.TB, pid int) syscall.WaitStatus {
	t.Helper()
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("wait4 %d: %v", pid, err)
		}
		return ws
	}
}

func (r *running) output() string {
	r.t.Helper()
	b, err := os.ReadFile(r.out.Name()) // our own descriptor shares its offset with the container
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// run creates, starts, waits for and deletes the container, and returns what it wrote and its status.
func (f *fixture) run() (string, syscall.WaitStatus) {
	f.t.Helper()
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	ws := r.wait()
	out := r.output()
	f.must(r.Delete(context.Background(), false))
	r.done = true
	return out, ws
}

// expect runs a script and compares its output.
func (f *fixture) expect(script, want string) {
	f.t.Helper()
	f.sh(script)
	got, ws := f.run()
	if strings.TrimSpace(got) != want || ws.ExitStatus() != 0 {
		f.t.Errorf("%s: got %q (status %d), want %q", script, got, ws.ExitStatus(), want)
	}
}

// leaks lists what is left of a container: mounts with its bundle's path, and cgroup directories.
func (f *fixture) leaks() []string {
	f.t.Helper()
	var out []string
	b, err := os.ReadFile("/proc/self/mountinfo")
	f.must(err)
	for line := range bytes.Lines(b) {
		if bytes.Contains(line, []byte(f.bundle)) {
			out = append(out, string(line))
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + f.spec.Linux.CgroupsPath)
	f.must(err)
	return append(out, groups...)
}

// drain reads a terminal until its other end is closed (EIO).
func drain(master *os.File) string {
	b, _ := io.ReadAll(master)
	return string(b)
}

// eventually waits for what another process does in its own time.
func eventually(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Error("it did not happen in 10 seconds")
}
