package task_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/manager/task"
)

// These tests run real containers: they need root, a kernel with cgroups, and a static busybox.

const (
	nsName   = "test"
	patience = 30 * time.Second
)

var (
	shimPath string // built by TestMain
	rootfs   string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Println("not root: tests of real containers are left out")
		return 0
	}
	dir, err := os.MkdirTemp(scratch(), "suite-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shimPath = filepath.Join(dir, "conex-shim")
	build := exec.Command("go", "build", "-o", shimPath, "github.com/conex-containers/conex/cmd/conex-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("build conex-shim: %v\n%s", err, out)
		return 1
	}
	rootfs = filepath.Join(dir, "rootfs")
	if err := makeRootfs(rootfs); err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

func scratch() string {
	const dir = "/tmp/conex/shim"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return os.TempDir()
	}
	return dir
}

func makeRootfs(dir string) error {
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), data, 0o755); err != nil {
		return err
	}
	out, err := exec.Command("/bin/busybox", "--list").Output()
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(out)) {
		if name != "busybox" {
			if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// runtimes are those that every test of this file's harness runs on.
func eachRuntime(t *testing.T, f func(t *testing.T, h *harness)) {
	t.Helper()
	for _, name := range []string{"conex", "runc"} {
		t.Run(name, func(t *testing.T) {
			if name != "conex" {
				if _, err := exec.LookPath(name); err != nil {
					t.Skip(err)
				}
			}
			f(t, newHarness(t, name))
		})
	}
}

// harness is a service with a directory of its own, and what it was told of exits.
type harness struct {
	*testing.T
	svc     *task.Service
	root    string
	runtime string
	parent  string // cgroup of its containers

	mu    sync.Mutex
	exits []task.Exit
	told  *sync.Cond
}

func newHarness(t *testing.T, runtime string) *harness {
	t.Helper()
	root, err := os.MkdirTemp(scratch(), "run-")
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, root: root, runtime: runtime, parent: "conex-tasktest-" + filepath.Base(root)}
	h.told = sync.NewCond(&h.mu)
	h.open()
	t.Cleanup(func() {
		_ = h.svc.Close()
		h.checkLeaks()
	})
	return h
}

// open starts a service, as a daemon would at its start.
func (h *harness) open() []task.Recovered {
	h.Helper()
	svc, err := task.New(task.Config{
		ExecRoot: h.root, ShimPath: shimPath, CgroupParent: h.parent,
		Runtimes: map[string]task.Runtime{"runc": {Path: "runc"}, "crun": {Path: "crun"}},
		Log:      slog.New(slog.NewTextHandler(testWriter{h.T}, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		h.Fatal(err)
	}
	h.svc = svc
	recovered, err := svc.Recover(context.Background(), func(e task.Exit) {
		h.mu.Lock()
		h.exits = append(h.exits, e)
		h.mu.Unlock()
		h.told.Broadcast()
	})
	if err != nil {
		h.Fatal(err)
	}
	return recovered
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// checkLeaks is the oracle: nothing of the harness is left.
func (h *harness) checkLeaks() {
	h.Helper()
	for _, dir := range []string{"task/" + nsName, "runtime/" + nsName} {
		entries, _ := os.ReadDir(filepath.Join(h.root, dir))
		for _, e := range entries {
			h.Errorf("left: %s/%s", dir, e.Name())
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if bytes.Contains(mounts, []byte(h.root)) {
		h.Errorf("left: a mount below %s", h.root)
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + h.parent + "/*")
	for _, g := range groups {
		if st, err := os.Stat(g); err == nil && st.IsDir() {
			h.Errorf("left: %s", g)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if data, _ := os.ReadFile(p); bytes.Contains(data, []byte(h.root)) {
			h.Errorf("left: process %s %q", p, data)
		}
	}
	parents, _ := filepath.Glob("/sys/fs/cgroup/*/" + h.parent)
	for _, p := range parents {
		_ = os.Remove(p)
	}
	if !h.Failed() {
		_ = os.RemoveAll(h.root)
	}
}

// spec is a small container without capabilities games: its own namespaces, proc, dev and devpts.
func spec(args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"}
	return &specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: args, Env: []string{"PATH=/bin", "TERM=xterm"}, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Root:     &specs.Root{Path: rootfs, Readonly: true},
		Hostname: "box",
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
			Resources: &specs.LinuxResources{},
		},
	}
}

// sh runs a script.
func sh(script string) *specs.Spec { return spec("/bin/sh", "-c", script) }

func (h *harness) logPath(id string) string { return filepath.Join(h.root, id+"-json.log") }

// request is a Create with the usual values.
func (h *harness) request(id string, s *specs.Spec) task.Create {
	return task.Create{
		Namespace: nsName, ID: id, Runtime: h.runtime, Spec: s,
		Log: shim.Log{Driver: "json-file", Path: h.logPath(id)},
	}
}

func (h *harness) create(c task.Create) int {
	h.Helper()
	pid, err := h.svc.Create(context.Background(), c)
	if err != nil {
		h.Fatal(err)
	}
	if pid <= 0 {
		h.Fatalf("pid %d", pid)
	}
	return pid
}

func (h *harness) start(id string) {
	h.Helper()
	if err := h.svc.Start(context.Background(), nsName, id); err != nil {
		h.Fatal(err)
	}
}

// run creates and starts.
func (h *harness) run(c task.Create) int {
	h.Helper()
	pid := h.create(c)
	h.start(c.ID)
	return pid
}

func (h *harness) delete(id string) {
	h.Helper()
	if err := h.svc.Delete(context.Background(), nsName, id); err != nil {
		h.Fatal(err)
	}
}

// exit waits until the exit of a process was told, and checks that it was told once.
func (h *harness) exit(id, execID string) task.Exit {
	h.Helper()
	timer := time.AfterFunc(patience, h.told.Broadcast)
	defer timer.Stop()
	end := time.Now().Add(patience)
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		var found []task.Exit
		for _, e := range h.exits {
			if e.ID == id && e.ExecID == execID {
				found = append(found, e)
			}
		}
		if len(found) > 1 {
			h.Fatalf("the exit of %s %s was told %d times", id, execID, len(found))
		}
		if len(found) == 1 {
			return found[0]
		}
		if time.Now().After(end) {
			h.Fatalf("no exit of %s %s", id, execID)
		}
		h.told.Wait()
	}
}

func (h *harness) forgetExits() {
	h.mu.Lock()
	h.exits = nil
	h.mu.Unlock()
}

// logged returns the container's log as its two streams.
func (h *harness) logged(id string) map[string]string {
	h.Helper()
	var stdout, stderr strings.Builder
	for _, path := range []string{h.logPath(id) + ".2", h.logPath(id) + ".1", h.logPath(id)} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			var e struct{ Log, Stream string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				h.Fatalf("log line %q: %v", line, err)
			}
			if e.Stream == "stdout" {
				stdout.WriteString(e.Log)
			} else {
				stderr.WriteString(e.Log)
			}
		}
	}
	return map[string]string{"stdout": stdout.String(), "stderr": stderr.String()}
}

// shimPid finds the shim of a task.
func (h *harness) shimPid(id string) int {
	h.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		data, _ := os.ReadFile(p)
		if bytes.HasPrefix(data, []byte("conex-shim\x00")) && bytes.Contains(data, []byte(h.root+"/task/"+nsName+"/"+id+"\x00")) {
			var pid int
			_, _ = fmt.Sscanf(p, "/proc/%d/cmdline", &pid)
			return pid
		}
	}
	h.Fatalf("no shim of %s", id)
	return 0
}
