package inside

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestMain(m *testing.M) {
	if os.Getenv("CONEX_VM") == "" {
		fmt.Println("these tests are run by package vm, inside its virtual machine (make test-v2)")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	program = "/usr/bin/conex-runtime"
	groups  = "/sys/fs/cgroup"
)

// bundle is a busybox container that is not made yet.
type bundle struct {
	t    *testing.T
	dir  string
	id   string
	spec specs.Spec
	out  string // a file with what the container printed
}

func newBundle(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, dir: t.TempDir(), id: strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))}
	b.out = filepath.Join(b.dir, "out")
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "data"} {
		b.must(os.MkdirAll(b.path(d), 0o755))
	}
	for d := b.dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		b.must(os.Chmod(d, 0o755))
	}
	data, err := os.ReadFile("/bin/busybox")
	b.must(err)
	b.must(os.WriteFile(b.path("bin/busybox"), data, 0o755))
	for _, applet := range []string{"sh", "true", "cat", "id", "sleep", "ls", "echo", "grep", "mknod", "stat", "seq", "tail", "touch", "wc", "dd", "tty"} {
		b.must(os.Symlink("busybox", b.path("bin/"+applet)))
	}
	cmd := exec.Command(program, "spec")
	cmd.Dir = b.dir
	b.must(cmd.Run())
	data, err = os.ReadFile(filepath.Join(b.dir, "config.json"))
	b.must(err)
	b.must(json.Unmarshal(data, &b.spec))
	b.spec.Process.Terminal, b.spec.Root.Readonly = false, false
	b.spec.Linux.CgroupsPath = "/conex-test/" + b.id
	b.spec.Linux.Resources = &specs.LinuxResources{}
	return b
}

func (b *bundle) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) path(name string) string { return filepath.Join(b.dir, "rootfs", name) }

// group is the container's directory of control files.
func (b *bundle) group(name string) string {
	return filepath.Join(groups, b.spec.Linux.CgroupsPath, name)
}

func (b *bundle) sh(script string) { b.spec.Process.Args = []string{"/bin/sh", "-c", script} }

// write puts the configuration where the runtime reads it.
func (b *bundle) write() {
	b.t.Helper()
	data, err := json.Marshal(b.spec)
	b.must(err)
	b.must(os.WriteFile(filepath.Join(b.dir, "config.json"), data, 0o644))
}

// try runs the runtime; what it prints and its error.
func (b *bundle) try(args ...string) (string, error) {
	b.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Dir = b.dir
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

func (b *bundle) runtime(args ...string) string {
	b.t.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// run runs the container in the foreground.
func (b *bundle) run() (string, int) {
	b.t.Helper()
	b.write()
	out, err := b.try("run", b.id)
	if err == nil {
		return out, 0
	}
	e, ok := err.(*exec.ExitError)
	if !ok {
		b.t.Fatal(err)
	}
	return out, e.ExitCode()
}

// start runs the container in the background, with its output in a file; it is deleted at the end.
func (b *bundle) start(args ...string) {
	b.t.Helper()
	b.write()
	b.detached(append([]string{"run", "--detach"}, args...)...)
	b.t.Cleanup(func() { _, _ = b.try("delete", "--force", b.id) })
}

// detached runs a command that leaves processes behind: a pipe of ours would wait for them.
func (b *bundle) detached(args ...string) {
	b.t.Helper()
	out, err := os.OpenFile(b.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	b.must(err)
	defer func() { _ = out.Close() }()
	var said bytes.Buffer
	log := filepath.Join(b.dir, "log")
	cmd := exec.Command(program, append([]string{"--log", log}, append(args, b.id)...)...)
	cmd.Dir = b.dir
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log)
		b.t.Fatalf("%v: %v %s %s", args, err, said.String(), text)
	}
}

type state struct {
	Status string
	Pid    int
}

func (b *bundle) state() (s state) {
	b.t.Helper()
	b.must(json.Unmarshal([]byte(b.runtime("state", b.id)), &s))
	return s
}

func (b *bundle) read(path string) string {
	b.t.Helper()
	data, err := os.ReadFile(path)
	b.must(err)
	return strings.TrimSpace(string(data))
}

func (b *bundle) expect(path, want string) {
	b.t.Helper()
	if got := b.read(path); got != want {
		b.t.Errorf("%s is %q, not %q", path, got, want)
	}
}

// until waits for something that has to happen.
func (b *bundle) until(what string, happened func() bool) {
	b.t.Helper()
	for range 600 {
		if happened() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Fatalf("%s: has not happened", what)
}

func pointer[T any](v T) *T { return &v }
