package container_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func TestRun(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	rec := w.record()
	id := w.create("first", nil, "sh", "-c", "echo hello; exit 7")
	if code := w.run(id); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if got := w.logs(id); got != "hello\n" {
		t.Errorf("logs %q", got)
	}
	info, err := w.ContainerInspect(t.Context(), "first", true)
	must(t, err)
	if info.State.Status != types.StateExited || info.State.ExitCode != 7 || info.Name != "/first" || info.State.Pid != 0 {
		t.Errorf("state %+v", info.State)
	}
	if *info.SizeRootFs < 100_000 {
		t.Errorf("size of the root file system %d", *info.SizeRootFs)
	}
	must(t, w.ContainerRemove(t.Context(), "first", false, false))
	for _, want := range []string{"container create", "container start", "container die", "container destroy"} {
		eventually(t, want, func() bool { return strings.Contains(rec.list(), want) })
	}
	if _, err := w.ContainerInspect(t.Context(), id, false); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "No such container: "+id) {
		t.Errorf("after the removal: %v", err)
	}
}

func TestConfiguration(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	for _, c := range []struct {
		name   string
		change func(*types.CreateRequest)
		cmd    []string
		want   string
	}{
		{"image environment", nil, []string{"sh", "-c", "echo $FROM_IMAGE $HOME"}, "yes /root\n"},
		{"hostname", func(r *types.CreateRequest) { r.Hostname = "boat" }, []string{"sh", "-c", "hostname; cat /etc/hostname"}, "boat\nboat\n"},
		{"user name", func(r *types.CreateRequest) { r.User = "app" }, []string{"id"}, "uid=1000(app) gid=1001(app) groups=10(wheel),1001(app)\n"},
		{"root has its groups", nil, []string{"id", "-G"}, "0 10\n"},
		{"user number", func(r *types.CreateRequest) { r.User = "77:88" }, []string{"id"}, "uid=77 gid=88 groups=88\n"},
		{"workdir is made", func(r *types.CreateRequest) { r.WorkingDir = "/a/b" }, []string{"pwd"}, "/a/b\n"},
		{"entrypoint", func(r *types.CreateRequest) { r.Entrypoint = []string{"echo", "x"} }, []string{"y"}, "x y\n"},
		{"pid namespace", nil, []string{"sh", "-c", "echo $$"}, "1\n"},
		{"tmpfs", func(r *types.CreateRequest) { r.HostConfig.Tmpfs = map[string]string{"/scratch": "size=1m"} }, []string{"sh", "-c", "grep -c '/scratch tmpfs .*size=1024k' /proc/mounts"}, "1\n"},
		{"read only", func(r *types.CreateRequest) { r.HostConfig.ReadonlyRootfs = true }, []string{"sh", "-c", "touch /x 2>/dev/null || echo no"}, "no\n"},
		{"shm size", func(r *types.CreateRequest) { r.HostConfig.ShmSize = 1 << 20 }, []string{"sh", "-c", "grep -c '/dev/shm tmpfs .*size=1024k' /proc/mounts"}, "1\n"},
		{"capabilities dropped", func(r *types.CreateRequest) { r.HostConfig.CapDrop = []string{"ALL"} }, []string{"grep", "CapEff", "/proc/self/status"}, "CapEff:\t0000000000000000\n"},
		{"no new privileges", func(r *types.CreateRequest) { r.HostConfig.SecurityOpt = []string{"no-new-privileges"} }, []string{"grep", "NoNewPrivs", "/proc/self/status"}, "NoNewPrivs:\t1\n"},
		{"seccomp", nil, []string{"grep", "Seccomp:", "/proc/self/status"}, "Seccomp:\t2\n"},
		{"seccomp unconfined", func(r *types.CreateRequest) { r.HostConfig.SecurityOpt = []string{"seccomp=unconfined"} }, []string{"grep", "Seccomp:", "/proc/self/status"}, "Seccomp:\t0\n"},
		{"extra hosts", func(r *types.CreateRequest) { r.HostConfig.ExtraHosts = []string{"db:10.1.2.3"} }, []string{"grep", "db", "/etc/hosts"}, "10.1.2.3\tdb\n"},
		{"sysctl", func(r *types.CreateRequest) { r.HostConfig.Sysctls = map[string]string{"kernel.msgmax": "9000"} }, []string{"cat", "/proc/sys/kernel/msgmax"}, "9000\n"},
		{"dns", func(r *types.CreateRequest) {
			r.HostConfig.DNSSearch = []string{"a.example"}
			r.HostConfig.DNSOptions = []string{"ndots:3"}
		}, []string{"grep", "-E", "search|options", "/etc/resolv.conf"}, "search a.example\noptions ndots:3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *w
			sub.t = t
			if got := sub.output(c.change, c.cmd...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFailedStart(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	for _, c := range []struct {
		name, cmd, text string
		code            int
	}{
		{"missing", "/no/such", "no such file or directory", 127},
		{"not in path", "nosuch", "executable file not found", 127},
		{"not executable", "/etc/passwd", "permission denied", 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := w.create("", nil, c.cmd)
			err := w.ContainerStart(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v, want %q in it", err, c.text)
			}
			info, err := w.ContainerInspect(t.Context(), id, false)
			must(t, err)
			if info.State.ExitCode != c.code || info.State.Error == "" || info.State.Status != types.StateCreated {
				t.Errorf("state %+v", info.State)
			}
			if _, err := os.Stat(filepath.Join(w.exec, "task", ns, id)); !os.IsNotExist(err) {
				t.Errorf("the bundle is still there: %v", err)
			}
		})
	}
	if err := w.ContainerStart(t.Context(), w.create("", func(r *types.CreateRequest) { r.User = "nobody" }, "true")); err == nil || !strings.Contains(err.Error(), "unable to find user nobody: no matching entries in passwd file") {
		t.Errorf("unknown user: %v", err)
	}
}

func TestAutoRemove(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("gone", func(r *types.CreateRequest) {
		r.HostConfig.AutoRemove = true
		r.Volumes = map[string]struct{}{"/seed": {}}
	}, "sh", "-c", "cat /seed/sub/two; exit 3")
	wait, err := w.ContainerWait(t.Context(), id, types.WaitConditionRemoved)
	must(t, err)
	must(t, w.ContainerStart(t.Context(), id))
	if r := wait(); r.StatusCode != 3 {
		t.Errorf("wait %+v", r)
	}
	for _, dir := range []string{filepath.Join(w.data, "containers", id), filepath.Join(w.exec, "containers", id), filepath.Join(w.exec, "task", ns, id)} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there", dir)
		}
	}
	if left := w.volumes.List(); len(left) != 0 {
		t.Errorf("anonymous volumes left: %v", left)
	}
	// A failed start removes it, too.
	id = w.create("gone", func(r *types.CreateRequest) { r.HostConfig.AutoRemove = true }, "/nosuch")
	if err := w.ContainerStart(t.Context(), id); err == nil {
		t.Error("started")
	}
	if _, err := w.ContainerInspect(t.Context(), id, false); !errdefs.IsNotFound(err) {
		t.Errorf("after the failed start: %v", err)
	}
}

func TestStopAndKill(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	trap := w.create("trap", nil, "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	must(t, w.ContainerStart(t.Context(), trap))
	eventually(t, "the trap", func() bool { return w.logs(trap) == "ready\n" })
	must(t, w.ContainerStop(t.Context(), "trap", "", nil))
	w.wantExit(trap, 5)
	if err := w.ContainerStop(t.Context(), "trap", "", nil); !errdefs.Is(err, errdefs.ErrNotModified) {
		t.Errorf("second stop: %v", err)
	}
	deaf := w.create("deaf", nil, "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
	must(t, w.ContainerStart(t.Context(), deaf))
	now := 0
	must(t, w.ContainerStop(t.Context(), "deaf", "", &now))
	w.wantExit(deaf, 137)
	if err := w.ContainerKill(t.Context(), "deaf", ""); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("kill of a stopped one: %v", err)
	}
	must(t, w.ContainerStart(t.Context(), deaf))
	if err := w.ContainerStart(t.Context(), deaf); !errdefs.Is(err, errdefs.ErrNotModified) {
		t.Errorf("second start: %v", err)
	}
	must(t, w.ContainerPause(t.Context(), deaf))
	if info, err := w.ContainerInspect(t.Context(), deaf, false); err != nil || info.State.Status != types.StatePaused {
		t.Errorf("paused: %+v %v", info.State, err)
	}
	must(t, w.ContainerUnpause(t.Context(), deaf))
	must(t, w.ContainerPause(t.Context(), deaf))
	if err := w.ContainerRemove(t.Context(), deaf, false, false); !errdefs.IsConflict(err) {
		t.Errorf("remove of a paused one: %v", err)
	}
	must(t, w.ContainerRemove(t.Context(), deaf, true, false))
}

func (w *world) wantExit(id string, code int) {
	w.t.Helper()
	info, err := w.ContainerInspect(w.t.Context(), id, false)
	must(w.t, err)
	if info.State.Status != types.StateExited || info.State.ExitCode != code {
		w.t.Errorf("container %s: state %+v, want exit code %d", info.Name, info.State, code)
	}
}

func TestRestartPolicy(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("again", func(r *types.CreateRequest) {
		r.HostConfig.RestartPolicy = types.RestartPolicy{Name: types.RestartPolicyOnFailure, MaximumRetryCount: 2}
	}, "sh", "-c", "echo run; exit 4")
	if code := w.run(id); code != 4 {
		t.Errorf("exit code %d", code)
	}
	if got := w.logs(id); got != "run\nrun\nrun\n" {
		t.Errorf("logs %q", got)
	}
	info, err := w.ContainerInspect(t.Context(), id, false)
	must(t, err)
	if info.RestartCount != 2 {
		t.Errorf("restart count %d", info.RestartCount)
	}
	always := w.create("always", func(r *types.CreateRequest) { r.HostConfig.RestartPolicy.Name = types.RestartPolicyAlways }, "sh", "-c", "echo run")
	must(t, w.ContainerStart(t.Context(), always))
	eventually(t, "three runs", func() bool { return strings.Count(w.logs(always), "run") >= 3 })
	must(t, w.ContainerStop(t.Context(), always, "", nil))
	eventually(t, "stopped", func() bool {
		info, err := w.ContainerInspect(t.Context(), always, false)
		return err == nil && info.State.Status == types.StateExited
	})
}

func TestMounts(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	host := t.TempDir()
	must(t, os.WriteFile(filepath.Join(host, "f"), []byte("host"), 0o644))
	bind := func(r *types.CreateRequest) { r.HostConfig.Binds = []string{host + ":/mnt:ro", "named:/seed"} }
	if got := w.output(bind, "sh", "-c", "cat /mnt/f /seed/one /seed/sub/two; touch /mnt/x 2>/dev/null || echo -ro; echo new >/seed/one"); got != "host122-ro\n" {
		t.Errorf("first: %q", got)
	}
	if got := w.output(bind, "cat", "/seed/one"); got != "new\n" {
		t.Errorf("the named volume forgot: %q", got)
	}
	made := filepath.Join(host, "made", "here")
	w.output(func(r *types.CreateRequest) { r.HostConfig.Binds = []string{made + ":/m"} }, "touch", "/m/x")
	if _, err := os.Stat(filepath.Join(made, "x")); err != nil {
		t.Error(err)
	}
	_, err := w.ContainerCreate(t.Context(), "", "", &types.CreateRequest{
		Config:     &types.Config{Image: "busybox"},
		HostConfig: &types.HostConfig{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/no/such", Target: "/x"}}},
	})
	if err == nil || !strings.Contains(err.Error(), `invalid mount config for type "bind": bind source path does not exist: /no/such`) {
		t.Errorf("missing source: %v", err)
	}
	if err := w.volumes.VolumeRemove(t.Context(), "named", false); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("one", nil, "true")
	_, err := w.ContainerCreate(t.Context(), "one", "", &types.CreateRequest{Config: &types.Config{Image: "busybox"}})
	want := fmt.Sprintf(`Conflict. The container name "/one" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.`, id)
	if !errdefs.IsConflict(err) || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	must(t, w.ContainerRename(t.Context(), "one", "two"))
	for _, ref := range []string{"two", "/two", id, id[:12], id[:6]} {
		if info, err := w.ContainerInspect(t.Context(), ref, false); err != nil || info.ID != id {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if made := w.create("one", nil, "true"); made == id {
		t.Error("the old name is not free")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	ok := 0
	for range 20 {
		wg.Go(func() {
			if _, err := w.ContainerCreate(context.Background(), "same", "", &types.CreateRequest{Config: &types.Config{Image: "busybox"}}); err == nil {
				mu.Lock()
				ok++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ok != 1 {
		t.Errorf("%d creates of one name succeeded", ok)
	}
	list, err := w.ContainerList(t.Context(), docker.ListOptions{All: true})
	must(t, err)
	if len(list) != 3 {
		t.Errorf("%d containers, want 3", len(list))
	}
}

func TestConcurrentRemovals(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("doomed", nil, "sleep", "100")
	must(t, w.ContainerStart(t.Context(), id))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			err := w.ContainerRemove(context.Background(), id, true, false)
			if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	eventually(t, "gone", func() bool { _, err := w.ContainerInspect(t.Context(), id, false); return errdefs.IsNotFound(err) })
}

func TestRecovery(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	stays := w.create("stays", nil, "sh", "-c", "while :; do echo tick; sleep 0.02; done")
	removed := w.create("removed", func(r *types.CreateRequest) { r.HostConfig.AutoRemove = true }, "sh", "-c", "sleep 0.2; exit 1")
	always := w.create("always", func(r *types.CreateRequest) { r.HostConfig.RestartPolicy.Name = types.RestartPolicyAlways }, "sh", "-c", "echo run; sleep 0.3")
	ends := w.create("ends", nil, "sh", "-c", "sleep 0.2; exit 7")
	for _, id := range []string{stays, ends, removed, always} {
		must(t, w.ContainerStart(t.Context(), id))
	}
	before, err := w.ContainerInspect(t.Context(), stays, false)
	must(t, err)
	w.close()
	time.Sleep(600 * time.Millisecond) // three of them end meanwhile
	w.open()
	after, err := w.ContainerInspect(t.Context(), stays, false)
	must(t, err)
	if after.State.Pid != before.State.Pid || after.State.Status != types.StateRunning || after.State.StartedAt != before.State.StartedAt {
		t.Errorf("before %+v\nafter %+v", before.State, after.State)
	}
	eventually(t, "the exit code", func() bool {
		info, err := w.ContainerInspect(t.Context(), ends, false)
		return err == nil && info.State.Status == types.StateExited && info.State.ExitCode == 7
	})
	eventually(t, "the removal", func() bool { _, err := w.ContainerInspect(t.Context(), removed, false); return errdefs.IsNotFound(err) })
	eventually(t, "the restart", func() bool { return strings.Count(w.logs(always), "run") >= 2 })
	lines := strings.Count(w.logs(stays), "tick")
	eventually(t, "more ticks", func() bool { return strings.Count(w.logs(stays), "tick") > lines })
	now := 0
	must(t, w.ContainerStop(t.Context(), stays, "", &now))
	w.wantExit(stays, 137)
}

func BenchmarkRunRemove(b *testing.B) {
	for _, mode := range []types.NetworkMode{"none", "bridge"} {
		b.Run(string(mode), func(b *testing.B) {
			w := newWorld(b)
			w.busybox()
			b.ResetTimer()
			for range b.N {
				id := w.create("", func(r *types.CreateRequest) { r.HostConfig.AutoRemove, r.HostConfig.NetworkMode = true, mode }, "true")
				wait, err := w.ContainerWait(context.Background(), id, types.WaitConditionRemoved)
				must(b, err)
				must(b, w.ContainerStart(context.Background(), id))
				if r := wait(); r.StatusCode != 0 {
					b.Fatal(r)
				}
			}
		})
	}
}

// The engine's own start of a container, which waits its turn behind others, does not undo what a user did meanwhile.
func TestBootComesTooLate(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("late", func(r *types.CreateRequest) { r.HostConfig.RestartPolicy.Name = types.RestartPolicyAlways }, "sleep", "1000")
	now, boot := 0, w.BootLater(id)
	must(t, w.ContainerStart(t.Context(), id))
	must(t, w.ContainerStop(t.Context(), id, "", &now))
	boot()
	w.wantExit(id, 137)
	w.BootLater(id)()
	info, err := w.ContainerInspect(t.Context(), id, false)
	must(t, err)
	if !info.State.Running {
		t.Errorf("not started: %s", info.State.Status)
	}
	must(t, w.ContainerStop(t.Context(), id, "", &now))
}
