package container_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/engine/container"
	"github.com/conex-containers/conex/engine/event"
	engineimage "github.com/conex-containers/conex/engine/image"
	enginenet "github.com/conex-containers/conex/engine/network"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/engine/volume"
	"github.com/conex-containers/conex/linux/capability"
	"github.com/conex-containers/conex/manager/content"
	managerevent "github.com/conex-containers/conex/manager/event"
	"github.com/conex-containers/conex/manager/hostmount"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/registry"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/overlay"
	"github.com/conex-containers/conex/manager/task"
	"github.com/conex-containers/conex/network"
)

// These tests run real containers on the real managers: they need root, cgroups and a static busybox, and run in a
// network namespace of their own.

const (
	ns           = "moby"
	cgroupParent = "conex-test-engine"
	patience     = 20 * time.Second
)

var shimPath string // built by TestMain

func TestMain(m *testing.M) {
	const inside = "CONEX_TEST_NETNS"
	if os.Getuid() == 0 && os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if err := cmd.Run(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := run(m)
	os.Exit(code)
}

func run(m *testing.M) int {
	if os.Getuid() != 0 {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "conex-engine-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() {
		_ = os.RemoveAll(dir)
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + cgroupParent)
		for _, g := range groups {
			_ = os.Remove(g)
		}
	}()
	shimPath = filepath.Join(dir, "conex-shim")
	build := exec.Command("go", "build", "-o", shimPath, "github.com/conex-containers/conex/cmd/conex-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Printf("build conex-shim: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// world is an engine with its managers on scratch directories.
type world struct {
	t          testing.TB
	data, exec string
	*container.Service
	images   *image.Service
	volumes  *volume.Service
	networks *enginenet.Service
	bus      *event.Bus
	net      *network.Service
	closers  []func() error
}

func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Getuid() != 0 || shimPath == "" {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("needs a static busybox")
	}
	data, err := os.MkdirTemp("/tmp", "cx-data-")
	must(t, err)
	run, err := os.MkdirTemp("/run", "cx-")
	must(t, err)
	w := &world{t: t, data: data, exec: run}
	w.open()
	t.Cleanup(func() {
		list, err := w.ContainerList(context.Background(), docker.ListOptions{All: true})
		must(t, err)
		for _, c := range list {
			if err := w.ContainerRemove(context.Background(), c.ID, true, true); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		_ = w.net.RemoveAll(context.Background())
		w.close()
		_ = os.RemoveAll(data)
		_ = os.RemoveAll(run)
	})
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open starts the engine on the world's directories, as a daemon's start does.
func (w *world) open() {
	t, ctx := w.t, context.Background()
	t.Helper()
	log := slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.closers = nil
	onClose := func(f func() error) { w.closers = append(w.closers, f) }
	durable, err := metadata.Open(filepath.Join(w.data, "conex.db"), metadata.Options{})
	must(t, err)
	onClose(durable.Close)
	volatile, err := metadata.Open(filepath.Join(w.exec, "run.db"), metadata.Options{Volatile: true})
	must(t, err)
	onClose(volatile.Close)
	blobs, err := content.Open(filepath.Join(w.data, "content"), durable)
	must(t, err)
	onClose(blobs.Close)
	snapshots, err := snapshot.Open(filepath.Join(w.data, "snapshot"), durable, volatile, overlay.New())
	must(t, err)
	onClose(snapshots.Close)
	w.bus = event.NewBus(managerevent.NewExchange(0), ns)
	w.images = image.New(image.Parts{
		Content: blobs, Snapshots: snapshots, DB: durable, Leases: lease.New(volatile), Registry: registry.New(registry.Config{}),
		Notify: engineimage.Notifier(w.bus, ns),
	})
	w.net, err = network.New(network.Config{Instance: "cxtest", ForwardOff: true}, log)
	must(t, err)
	onClose(w.net.Close)
	tasks, err := task.New(task.Config{ExecRoot: w.exec, ShimPath: shimPath, CgroupParent: cgroupParent, Log: log})
	must(t, err)
	onClose(tasks.Close)
	store, err := volume.Open(ctx, volume.Config{Root: filepath.Join(w.data, "volumes"), Namespace: ns, Durable: durable, Volatile: volatile, Mounter: hostmount.Host{}})
	must(t, err)
	w.volumes = volume.NewService(store, w.bus)
	w.Service = container.New(container.Config{
		Namespace: ns, DataRoot: w.data, ExecRoot: w.exec, Tasks: tasks, Processes: tasks, Images: engineimage.Source{Store: w.images}, Snapshots: snapshots,
		OpenRoot: func(ctx context.Context, key string) (container.Root, error) { return snapshots.Root(ctx, key) },
		Durable:  durable, Volatile: volatile, Network: w.net, Volumes: store, Attachments: store, Events: w.bus, Log: log,
		Spec: spec.Defaults{CgroupParent: cgroupParent}, Host: spec.DetectHost(capability.All()), StorageDriver: "overlay2",
	})
	onClose(w.Service.Close)
	w.networks = enginenet.New(enginenet.Config{Namespace: ns, Manager: w.net, Containers: w.Service, Durable: durable, Events: w.bus})
	endpoints, err := w.Open(ctx)
	must(t, err)
	must(t, w.networks.Open(ctx, endpoints))
	w.Resume(ctx)
}

// close ends the engine; its containers go on.
func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		if err := w.closers[i](); err != nil {
			w.t.Errorf("close: %v", err)
		}
	}
}

type logWriter struct{ t testing.TB }

func (l logWriter) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// busybox imports an image "busybox" of a static busybox with a shell and a few files.
func (w *world) busybox() {
	w.t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	must(w.t, err)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	dir := func(name string, mode int64) {
		must(w.t, tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}))
	}
	file := func(name, text string, mode int64) {
		must(w.t, tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(text))}))
		_, err := tw.Write([]byte(text))
		must(w.t, err)
	}
	for _, d := range []string{"bin/", "etc/", "dev/", "proc/", "sys/", "root/", "seed/", "seed/sub/"} {
		dir(d, 0o755)
	}
	dir("tmp/", 0o1777)
	file("bin/busybox", string(program), 0o755)
	for _, applet := range []string{"sh", "cat", "echo", "sleep", "true", "false", "id", "ls", "hostname", "ps", "ip", "kill", "head", "dd", "wc", "env", "stty", "nc", "touch", "mkdir", "pwd", "grep"} {
		must(w.t, tw.WriteHeader(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}))
	}
	file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n", 0o644)
	file("etc/group", "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\n", 0o644)
	file("seed/one", "1", 0o644)
	file("seed/sub/two", "22", 0o600)
	must(w.t, tw.Close())
	_, err = w.images.Import(context.Background(), ns, &buf, "busybox:latest", image.ImportOptions{
		Config: ocispec.ImageConfig{Cmd: []string{"sh"}, Env: []string{"FROM_IMAGE=yes"}, Labels: map[string]string{"of": "image"}},
	})
	must(w.t, err)
}

// create makes a container of the busybox image.
func (w *world) create(name string, change func(*types.CreateRequest), cmd ...string) string {
	w.t.Helper()
	req := &types.CreateRequest{Config: &types.Config{Image: "busybox", Cmd: cmd}, HostConfig: &types.HostConfig{NetworkMode: "none"}}
	if change != nil {
		change(req)
	}
	made, err := w.ContainerCreate(context.Background(), name, "", req)
	must(w.t, err)
	return made.ID
}

// result waits for the next exit and returns its code; the wait is registered by the call of result itself.
func (w *world) exit(id string) func() int64 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	wait, err := w.ContainerWait(ctx, id, types.WaitConditionNextExit)
	must(w.t, err)
	return func() int64 {
		w.t.Helper()
		defer cancel()
		r := wait()
		if ctx.Err() != nil {
			w.t.Fatalf("container %s did not end in %v\n%s", id, patience, goroutines())
		}
		return r.StatusCode
	}
}

func goroutines() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// run starts a container and waits for its end.
func (w *world) run(id string) int64 {
	w.t.Helper()
	result := w.exit(id)
	must(w.t, w.ContainerStart(context.Background(), id))
	return result()
}

// logs returns what a container wrote to both streams.
func (w *world) logs(id string) string {
	w.t.Helper()
	r, _, err := w.ContainerLogs(context.Background(), id, docker.LogsOptions{Stdout: true, Stderr: true, Tail: -1})
	must(w.t, err)
	var out strings.Builder
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		must(w.t, err)
		out.Write(l.Line)
	}
}

// output runs a command in a new container and returns what it wrote.
func (w *world) output(change func(*types.CreateRequest), cmd ...string) string {
	w.t.Helper()
	id := w.create("", change, cmd...)
	if code := w.run(id); code != 0 {
		w.t.Errorf("%v: exit code %d: %s", cmd, code, w.logs(id))
	}
	out := w.logs(id)
	must(w.t, w.ContainerRemove(context.Background(), id, false, true))
	return out
}

// client is the far end of a hijacked connection.
type client struct {
	net.Conn
	t *testing.T
}

// hijacker returns what server/docker gives the engine, and the client's end.
func hijacker(t *testing.T) (func(bool) (net.Conn, []byte, error), *client) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer func() { _ = l.Close() }()
	far, err := net.Dial("unix", l.Addr().String())
	must(t, err)
	near, err := l.Accept()
	must(t, err)
	must(t, far.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = far.Close() })
	return func(bool) (net.Conn, []byte, error) { return near, nil, nil }, &client{far, t}
}

// demultiplexed reads a multiplexed stream to its end: stdout, stderr.
func (c *client) demultiplexed() (string, string) {
	c.t.Helper()
	var out [3]strings.Builder
	for {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			if !errors.Is(err, io.EOF) {
				c.t.Fatalf("stream: %v after %q %q", err, out[1].String(), out[2].String())
			}
			return out[1].String(), out[2].String()
		}
		_, err := io.CopyN(&out[head[0]%3], c, int64(binary.BigEndian.Uint32(head[4:])))
		must(c.t, err)
	}
}

// recorder collects events.
type recorder struct {
	mu   sync.Mutex
	seen []string
	all  []events.Message
}

func (w *world) record() *recorder {
	r := &recorder{}
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	go func() {
		_ = w.bus.Events(ctx, began, time.Time{}, nil, func(m events.Message) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.seen = append(r.seen, string(m.Type)+" "+string(m.Action))
			r.all = append(r.all, m)
			return nil
		})
	}()
	return r
}

func (r *recorder) list() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.seen, "\n")
}

// eventually waits for a condition that follows from something else soon.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within %v", what, patience)
}
