package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

func TestRun(t *testing.T) {
	f := newFixture(t)
	f.expect("echo hello", "hello")
	f.sh("exit 7")
	if _, ws := f.run(); ws.ExitStatus() != 7 {
		t.Errorf("status %v, want 7", ws)
	}
	f.sh("kill -9 $$")
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

func TestLifecycle(t *testing.T) {
	f := newFixture(t)
	f.sh("sleep 100")
	ctx := context.Background()
	r, err := f.create()
	f.must(err)
	expect := func(want specs.ContainerState) {
		t.Helper()
		if s, err := r.State(ctx); err != nil || s.Status != want {
			t.Fatalf("state %q, %v; want %q", s.Status, err, want)
		}
	}
	expect(specs.StateCreated)
	if _, err := f.create(); !errdefs.IsAlreadyExists(err) {
		t.Fatalf("second create: %v", err)
	}
	if err := r.Delete(ctx, false); errdefs.Of(err) != errdefs.ErrFailedPrecondition {
		t.Fatalf("delete of a created one: %v", err)
	}
	f.must(r.Start(ctx))
	expect(specs.StateRunning)
	if err := r.Start(ctx); errdefs.Of(err) != errdefs.ErrFailedPrecondition {
		t.Fatalf("second start: %v", err)
	}
	f.must(r.Pause(ctx))
	expect(StatusPaused)
	f.must(r.Resume(ctx))
	expect(specs.StateRunning)
	l, err := Load(f.root, "c1")
	f.must(err)
	if l.Pid() != r.Pid() || l.Pidfd() < 0 {
		t.Fatalf("loaded pid %d, pidfd %d", l.Pid(), l.Pidfd())
	}
	f.must(l.Kill(ctx, unix.SIGKILL, false))
	f.must(l.Close())
	if ws := r.wait(); ws.Signal() != unix.SIGKILL {
		t.Fatalf("ended by %v", ws)
	}
	expect(specs.StateStopped)
	if err := r.Kill(ctx, unix.SIGTERM, false); errdefs.Of(err) != errdefs.ErrFailedPrecondition {
		t.Fatalf("kill of a stopped one: %v", err)
	}
	f.must(r.Delete(ctx, false))
	r.done = true
	if _, err := Load(f.root, "c1"); !errdefs.IsNotFound(err) {
		t.Fatalf("load after delete: %v", err)
	}
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

// The first process of a pid namespace has its program's signals only when it has handlers, and a created one has no
// program yet. The program itself gets none of them.
func TestSignalsOfACreatedOne(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		r, err := f.create()
		f.must(err)
		f.must(r.Kill(ctx, s, false))
		if ws := r.wait(); ws.ExitStatus() != 128+int(s) {
			t.Errorf("%v: ended by %v", s, ws)
		}
		if st, err := r.State(ctx); err != nil || st.Status != specs.StateStopped {
			t.Errorf("state %q, %v", st.Status, err)
		}
		f.must(r.Delete(ctx, false))
		r.done = true
	}
	f.spec.Process.Args = []string{"grep", "SigCgt", "/proc/self/status"}
	if out, _ := f.run(); strings.TrimSpace(out) != "SigCgt:\t0000000000000000" {
		t.Errorf("the program has handlers: %s", out)
	}
}

// What a created process holds leads to no directory of the host.
func TestDescriptorsOfACreatedOne(t *testing.T) {
	f := newFixture(t)
	r, err := f.create()
	f.must(err)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.Pid()))
	f.must(err)
	places := 0
	for _, e := range fds {
		link := fmt.Sprintf("/proc/%d/fd/%s", r.Pid(), e.Name())
		target, err := os.Readlink(link)
		f.must(err)
		if st, err := os.Stat(link); err != nil || !st.IsDir() {
			continue
		}
		places++
		if err := os.WriteFile(link+"/x", nil, 0o600); target != "/" || !errors.Is(err, unix.EROFS) {
			t.Errorf("descriptor %s is %s: %v", e.Name(), target, err)
		}
		if _, err := os.Stat(link + "/../" + stateName); err != nil {
			t.Errorf("descriptor %s leads up: %v", e.Name(), err)
		}
	}
	if places != 1 {
		t.Errorf("%d directories", places)
	}
}

// With --no-pivot the host's tree lies below the root: its proc must not let a user namespace of the container have a new one.
func TestNoPivotHidesProc(t *testing.T) {
	f := newFixture(t)
	f.noPivot = true
	f.must(os.Symlink("busybox", f.path("bin/unshare")))
	caps := []string{"CAP_SYS_ADMIN", "CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID"}
	f.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	f.expect("unshare -mrpf sh -c 'mount -t proc none /proc && echo mounted; mount -t sysfs none /sys && echo mounted' 2>/dev/null; grep -c . /proc/1/comm", "1")
}

func TestProgramErrors(t *testing.T) {
	f := newFixture(t)
	f.must(os.WriteFile(f.path("script"), []byte("#!/no/such/interpreter\n"), 0o755))
	f.must(os.WriteFile(f.path("garbage"), []byte("garbage"), 0o755))
	for _, c := range []struct {
		arg, want string
		errno     unix.Errno
	}{
		{"nosuch", `exec: "nosuch": executable file not found in $PATH`, unix.ENOENT},
		{"/nosuch", `exec: "/nosuch": stat /nosuch: no such file or directory`, unix.ENOENT},
		{"/etc/passwd", `exec: "/etc/passwd": permission denied`, unix.EACCES},
		{"/etc", `exec: "/etc": is a directory`, unix.EISDIR},
		{"/script", "exec /script: no such file or directory", unix.ENOENT},
		{"/garbage", "exec /garbage: exec format error", unix.ENOEXEC},
	} {
		f.spec.Process.Args = []string{c.arg}
		r, err := f.create()
		if err == nil {
			err = r.Start(context.Background())
			r.wait()
			f.must(r.Delete(context.Background(), true))
			r.done = true
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.errno) {
			t.Errorf("%s: got %v, want ...%s", c.arg, err, c.want)
		}
	}
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

func TestExec(t *testing.T) {
	f := newFixture(t)
	f.sh("sleep 100")
	ctx := context.Background()
	r, err := f.create()
	f.must(err)
	f.must(r.Start(ctx))
	run := func(p *specs.Process) (string, int, error) {
		t.Helper()
		out, err := os.CreateTemp(f.bundle, "exec-")
		f.must(err)
		defer func() { _ = out.Close() }()
		e, err := r.Exec(ctx, ExecOptions{ID: "e1", Process: p, Stdio: [3]*os.File{nil, out, out}})
		if err != nil {
			return "", 0, err
		}
		defer func() { _ = e.Close() }()
		ws := wait(t, e.Pid())
		b, err := os.ReadFile(out.Name())
		f.must(err)
		return strings.TrimSpace(string(b)), ws.ExitStatus(), nil
	}
	env := f.spec.Process.Env
	script := `echo $(id -u) $(id -g) $HOME $(hostname) $(ls /proc/self/fd | wc -l) $(grep -c c1 /proc/1/cgroup); exit 3`
	out, code, err := run(&specs.Process{Args: []string{"sh", "-c", script}, Env: env, Cwd: "/", User: specs.User{UID: 1000, GID: 1000}})
	if err != nil || code != 3 || !strings.HasPrefix(out, "1000 1000 /home/user conex ") {
		t.Errorf("got %q, %d, %v", out, code, err)
	}
	own, _, err := run(&specs.Process{Args: []string{"cat", "/proc/self/cgroup"}, Env: env, Cwd: "/"})
	f.must(err)
	first, _, err := run(&specs.Process{Args: []string{"cat", "/proc/1/cgroup"}, Env: env, Cwd: "/"})
	if err != nil || own != first {
		t.Errorf("cgroups of an exec:\n%s\nof the container:\n%s", own, first)
	}
	if _, _, err := run(&specs.Process{Args: []string{"nosuch"}, Env: env, Cwd: "/"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing program: %v", err)
	}
	if _, _, err := run(&specs.Process{Args: []string{"sh"}, Env: env, Cwd: "/nosuch"}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing cwd: %v", err)
	}
	if _, err := r.Exec(ctx, ExecOptions{Process: &specs.Process{Args: []string{"sh"}, Cwd: "/"}, Cgroups: map[string]string{"": "../.."}}); err == nil {
		t.Error("exec left the cgroup")
	}
}

// A process that Exec starts in a user namespace, with a terminal.
func TestExecUserNamespaceTerminal(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	f.spec.Linux.UIDMappings, f.spec.Linux.GIDMappings = m, m
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(t.Context()))
	var master *os.File
	e, err := r.Exec(t.Context(), ExecOptions{ID: "tty", Terminal: func(m *os.File) error { master = m; return nil },
		Process: &specs.Process{Terminal: true, Args: []string{"sh", "-c", "tty; id -u; cat /proc/self/uid_map"}, Env: f.spec.Process.Env, Cwd: "/"}})
	f.must(err)
	got := strings.Join(strings.Fields(drain(master)), " ")
	_ = master.Close()
	wait(t, e.Pid())
	f.must(e.Close())
	if want := "/dev/pts/0 0 0 100000 65536"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What a Create leaves that dies at any point before its end: nothing that a Delete does not find.
func TestCancelledCreate(t *testing.T) {
	f := newFixture(t)
	f.sh("sleep 100")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, f.options(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
	if _, err := os.Stat(f.root + "/c1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory is left: %v", err)
	}
}

// Extra descriptors arrive in order, whatever numbers they have on this side.
func TestExtraFiles(t *testing.T) {
	f := newFixture(t)
	f.sh("cat <&3; cat <&4; ls /proc/self/fd | wc -l")
	out, err := os.CreateTemp(f.bundle, "out-")
	f.must(err)
	o := f.options(out)
	for _, s := range []string{"three\n", "four\n"} {
		name := f.bundle + "/" + strings.TrimSpace(s)
		f.must(os.WriteFile(name, []byte(s), 0o644))
		file, err := os.Open(name)
		f.must(err)
		defer func() { _ = file.Close() }()
		o.ExtraFiles = append(o.ExtraFiles, file)
	}
	c, err := Create(t.Context(), o)
	f.must(err)
	r := &running{Container: c, t: t, out: out}
	f.must(r.Start(t.Context()))
	r.wait()
	if got := r.output(); got != "three\nfour\n6\n" {
		t.Errorf("got %q", got)
	}
	f.must(r.Delete(t.Context(), false))
}

// Without a pid namespace of its own what the first process leaves behind lives on; Delete ends it.
func TestSharedPidNamespace(t *testing.T) {
	f := newFixture(t)
	for i, ns := range f.spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces[:i], f.spec.Linux.Namespaces[i+1:]...)
			break
		}
	}
	f.sh("for i in 1 2 3 4 5; do sleep 100 & done; echo started")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(t.Context()))
	r.wait()
	if pids, err := r.Pids(t.Context()); err != nil || len(pids) != 5 {
		t.Fatalf("left behind: %v, %v", pids, err)
	}
	f.must(r.Delete(t.Context(), false))
	r.done = true
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}
