package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

// without removes namespaces from the configuration.
func (f *fixture) without(kinds ...specs.LinuxNamespaceType) {
	f.spec.Linux.Namespaces = slices.DeleteFunc(f.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return slices.Contains(kinds, n.Type)
	})
}

// exec runs a script in the container.
func (r *running) exec(script string) string {
	r.t.Helper()
	out, err := os.CreateTemp(r.t.TempDir(), "exec-")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	p := &specs.Process{Args: []string{"sh", "-c", script}, Env: r.Process().Env, Cwd: "/"}
	e, err := r.Exec(context.Background(), ExecOptions{ID: "e", Process: p, Stdio: [3]*os.File{nil, out, out}})
	if err != nil {
		r.t.Fatal(err)
	}
	wait(r.t, e.Pid())
	if err := e.Close(); err != nil {
		r.t.Fatal(err)
	}
	b, err := os.ReadFile(out.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// A container that asks for no namespace at all has a root of its own all the same, and mounts nothing on the host.
func TestNoNamespaces(t *testing.T) {
	f := newFixture(t)
	f.spec.Linux.Namespaces, f.spec.Hostname, f.spec.Linux.Sysctl = nil, "", nil
	f.sh("cat /etc/passwd | wc -l; stat -c %T /dev/null; stat -fc %T /dev/shm /proc | tr '\\n' ' '; sleep 100")
	r, err := f.create()
	f.must(err)
	for _, file := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"} {
		mine, err := os.Readlink("/proc/self/ns/" + file)
		f.must(err)
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", r.Pid(), file)); err != nil || its != mine {
			t.Errorf("namespace %s is %s, %v; ours is %s", file, its, err, mine)
		}
	}
	f.must(r.Start(t.Context()))
	if got := r.exec("cat /etc/passwd | wc -l; stat -fc %T /dev/shm; pwd"); got != "2\ntmpfs\n/" {
		t.Errorf("exec sees %q", got)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	f.must(err)
	if strings.Contains(string(mounts), f.bundle) {
		t.Errorf("the host has mounts of the container:\n%s", mounts)
	}
	r.until("2\n3\ntmpfs proc ")
	f.must(r.Delete(t.Context(), true))
	r.wait()
	r.done = true
}

func TestUserNamespaceNeedsMountNamespace(t *testing.T) {
	f := newFixture(t)
	f.without(specs.MountNamespace)
	f.mapped()
	if _, err := f.create(); errdefs.Of(err) != errdefs.ErrInvalidArgument || !strings.Contains(err.Error(), "mount namespace") {
		t.Errorf("create: %v", err)
	}
}

// mapped gives the container a user namespace and its root directory to that namespace's root.
func (f *fixture) mapped() {
	f.t.Helper()
	f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	f.spec.Linux.UIDMappings, f.spec.Linux.GIDMappings = m, m
	f.give(100000)
}

// give changes the owner of the root directory.
func (f *fixture) give(id int) {
	f.t.Helper()
	f.must(filepath.WalkDir(f.path(""), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, id, id)
	}))
	f.must(os.Chmod(scratch, 0o755))
	f.must(os.Chmod(f.bundle, 0o711))
}

// Every namespace of another container, its mounts and its user namespace included.
func TestJoinAll(t *testing.T) {
	for _, user := range []bool{false, true} {
		f := newFixture(t)
		f.spec.Mounts = append(f.spec.Mounts, specs.Mount{Destination: "/mark", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=755"}})
		if user {
			f.mapped()
		}
		f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		f.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 100000000}}
		f.sh("echo one >/mark/x; echo ready; sleep 100")
		first, err := f.create()
		f.must(err)
		f.must(first.Start(t.Context()))
		first.until("ready\n")
		g := newFixture(t)
		files := map[specs.LinuxNamespaceType]string{specs.PIDNamespace: "pid", specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc",
			specs.UTSNamespace: "uts", specs.MountNamespace: "mnt", specs.CgroupNamespace: "cgroup", specs.UserNamespace: "user", specs.TimeNamespace: "time"}
		g.spec.Linux.Namespaces, g.spec.Linux.UIDMappings, g.spec.Linux.GIDMappings = nil, f.spec.Linux.UIDMappings, f.spec.Linux.GIDMappings
		for _, n := range f.spec.Linux.Namespaces {
			path := fmt.Sprintf("/proc/%d/ns/%s", first.Pid(), files[n.Type])
			g.spec.Linux.Namespaces = append(g.spec.Linux.Namespaces, specs.LinuxNamespace{Type: n.Type, Path: path})
		}
		g.spec.Hostname, g.spec.Mounts, g.spec.Linux.MaskedPaths, g.spec.Linux.ReadonlyPaths = "", nil, nil, nil
		g.sh("cat /mark/x; hostname; [ $$ != 1 ] && cut -d. -f1 /proc/uptime | wc -c; sleep 100")
		second, err := g.create()
		f.must(err)
		for _, file := range files {
			want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", first.Pid(), file))
			f.must(err)
			if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", second.Pid(), file)); err != nil || got != want {
				t.Errorf("user %v: namespace %s is %s, %v; want %s", user, file, got, err, want)
			}
		}
		f.must(second.Start(t.Context()))
		second.until("10\n")
		if got := second.output(); got != "one\nconex\n10\n" {
			t.Errorf("user %v: the second sees %q", user, got)
		}
		if got := second.exec("cat /mark/x; id -u"); got != "one\n0" {
			t.Errorf("user %v: exec in the second sees %q", user, got)
		}
		f.must(second.Delete(t.Context(), true))
		second.wait()
		second.done = true
	}
}

// New namespaces of all other kinds inside a joined user namespace; and a new user namespace beside a joined time
// namespace, which the clone cannot begin with.
func TestJoinSome(t *testing.T) {
	f := newFixture(t)
	f.mapped()
	f.spec.Linux.Namespaces = append(f.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	f.spec.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 100000000}}
	f.sh("sleep 100")
	first, err := f.create()
	f.must(err)
	for _, c := range []struct {
		join specs.LinuxNamespaceType
		file string
	}{{specs.UserNamespace, "user"}, {specs.TimeNamespace, "time"}} {
		g := newFixture(t)
		g.mapped()
		path := fmt.Sprintf("/proc/%d/ns/%s", first.Pid(), c.file)
		if c.join == specs.UserNamespace {
			last := len(g.spec.Linux.Namespaces) - 1
			g.spec.Linux.Namespaces[last].Path = path
			g.spec.Linux.UIDMappings, g.spec.Linux.GIDMappings = nil, nil
		} else {
			g.spec.Linux.Namespaces = append(g.spec.Linux.Namespaces, specs.LinuxNamespace{Type: c.join, Path: path})
		}
		g.sh("id -u; tr -s ' ' </proc/self/uid_map; echo $$; touch /tmp/x; stat -c %u /tmp/x; ls /sys/class/net; cut -d. -f1 /proc/uptime | wc -c; sleep 100")
		second, err := g.create()
		f.must(err)
		f.must(second.Start(t.Context()))
		want := map[specs.LinuxNamespaceType]string{specs.UserNamespace: "0\n 0 100000 65536\n1\n0\nlo\n", specs.TimeNamespace: "0\n 0 100000 65536\n1\n0\nlo\n10\n"}[c.join]
		eventually(t, func() bool { return strings.HasPrefix(second.output(), want) })
		if got := second.exec("id -u"); got != "0" {
			t.Errorf("%s: %q, exec: %q", c.join, second.output(), got)
		}
		mine, err := os.Readlink(path)
		f.must(err)
		if its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", second.Pid(), c.file)); err != nil || its != mine {
			t.Errorf("%s namespace %s, %v; want %s", c.join, its, err, mine)
		}
		f.must(second.Delete(t.Context(), true))
		second.wait()
		second.done = true
	}
}

// until waits for the end of the output.
func (r *running) until(suffix string) {
	r.t.Helper()
	eventually(r.t, func() bool { return strings.HasSuffix(r.output(), suffix) })
}

// The terminal comes to a process that has had a message before: the one that says that its ids are mapped.
func TestUserNamespaceTerminal(t *testing.T) {
	f := newFixture(t)
	f.mapped()
	f.spec.Process.Terminal = true
	f.sh("tty; stat -c %u /dev/pts/0")
	o := f.options(nil)
	var master *os.File
	o.Terminal = func(m *os.File) error { master = m; return nil }
	c, err := Create(t.Context(), o)
	f.must(err)
	f.must(c.Start(t.Context()))
	got := strings.Join(strings.Fields(drain(master)), " ")
	_ = master.Close()
	wait(t, c.Pid())
	f.must(c.Delete(t.Context(), true))
	if got != "/dev/pts/0 0" {
		t.Errorf("got %q", got)
	}
}
