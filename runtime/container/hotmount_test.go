package container

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// ask runs a script in the running container and returns its output.
func (r *running) ask(script string) string {
	r.t.Helper()
	out, err := os.CreateTemp(r.t.TempDir(), "out-")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	p := *r.Process()
	p.Args, p.Terminal = []string{"sh", "-c", script}, false
	proc, err := r.Exec(context.Background(), ExecOptions{ID: "ask", Process: &p, Stdio: [3]*os.File{nil, out, out}})
	if err != nil {
		r.t.Fatal(err)
	}
	wait(r.t, proc.Pid())
	_ = proc.Close()
	b, err := os.ReadFile(out.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestHotMounts(t *testing.T) {
	for _, user := range []bool{false, true} {
		f := newFixture(t)
		vol := f.volume()
		if user {
			f.userNamespace()
		}
		f.must(os.MkdirAll(f.path("place"), 0o755))
		f.must(os.Symlink("/place/deep", f.path("link")))
		f.sh("sleep 100")
		r, err := f.create()
		f.must(err)
		f.must(r.Start(context.Background()))
		list := []specs.Mount{
			{Destination: "/new/dir", Type: "bind", Source: vol, Options: []string{"rbind", "ro"}},
			{Destination: "/new/file", Type: "bind", Source: filepath.Join(vol, "file"), Options: []string{"bind"}},
			{Destination: "link", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=8k", "noexec", "ro", "mode=711"}},
			{Destination: "/new/proc", Type: "proc", Source: "proc"},
			{Destination: "/new/mapped", Type: "bind", Source: vol, Options: []string{"bind", "idmap=uids=@0-7-1;gids=@0-8-1"}},
		}
		f.must(r.AddMounts(context.Background(), list))
		const look = "cat /new/dir/file /new/file; stat -c %a /place/deep; echo 2>/dev/null >/place/deep/x || echo ro; echo 2>/dev/null >/new/dir/x || echo ro; readlink /new/proc/1/exe; stat -c %u:%g /new/mapped"
		if got, want := r.ask(look), "data\ndata\n711\nro\nro\n/bin/busybox\n7:8"; got != want {
			t.Errorf("user namespace %v: got %q, want %q", user, got, want)
		}
		if l := f.leaks(); len(l) > 1 { // its cgroups
			for _, s := range l {
				if strings.Contains(s, " - ") {
					t.Errorf("in the host's mount table: %s", s)
				}
			}
		}
		f.must(r.RemoveMounts(context.Background(), list))
		if got := r.ask("ls -A /new/dir /place/deep /new/proc | grep -v :; grep -cE ' /(new|place)' /proc/self/mountinfo"); got != "0" {
			t.Errorf("left: %q", got)
		}
		if err := r.RemoveMounts(context.Background(), list[:1]); !errdefs.IsNotFound(err) {
			t.Errorf("removed twice: %v", err)
		}
	}
}

// What is half done when a mount fails does not stay.
func TestHotMountsAllOrNone(t *testing.T) {
	f := newFixture(t)
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	err = r.AddMounts(context.Background(), []specs.Mount{{Destination: "/one", Type: "tmpfs"}, {Destination: "/two", Type: "nosuchfs"}})
	if err == nil {
		t.Error("a file system that is none was mounted")
	}
	if got := r.ask("grep -cE ' /(one|two) ' /proc/self/mountinfo"); got != "0" {
		t.Errorf("left: %s", got)
	}
}

// A mask of the container cannot be taken away: not by its name, nor by a link that the container puts in the place of
// a mount that was added.
func TestHotUnmountSparesMasks(t *testing.T) {
	f := newFixture(t)
	f.must(os.Mkdir(f.path("a"), 0o755))
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	list := []specs.Mount{{Destination: "/a/keys", Type: "bind", Source: f.path("etc/passwd"), Options: []string{"bind"}}}
	if err := r.RemoveMounts(context.Background(), []specs.Mount{{Destination: "/proc/keys"}}); !errdefs.IsNotFound(err) {
		t.Errorf("a mask by its name: %v", err)
	}
	f.must(r.AddMounts(context.Background(), list))
	if got := r.ask("mv /a /b && ln -s /proc /a && echo moved"); got != "moved" {
		t.Fatalf("the attack could not be made: %s", got)
	}
	if err := r.RemoveMounts(context.Background(), list); err == nil || errdefs.IsNotFound(err) {
		t.Errorf("through a link: %v", err)
	}
	if got := r.ask("stat -c %t:%T /proc/keys"); got != "1:3" {
		t.Errorf("the mask is gone: %s", got)
	}
}

// The root of a user namespace cannot make a read-only mount of the host writable that was added to its container. The
// test runs itself in a mount namespace where there is such a mount.
func TestHotMountKeepsTheHostsFlags(t *testing.T) {
	const inside = "CONEX_TEST_MOUNT_NAMESPACE"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	f := newFixture(t)
	vol := f.volume()
	f.must(unix.Mount(vol, vol, "", unix.MS_BIND, ""))
	f.t.Cleanup(func() { _ = unix.Unmount(vol, unix.MNT_DETACH) })
	f.must(os.Chmod(vol, 0o777))
	f.must(unix.Mount("", vol, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	f.userNamespace()
	all := []string{"CAP_SYS_ADMIN"}
	f.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	f.must(r.Start(context.Background()))
	f.must(r.AddMounts(context.Background(), []specs.Mount{{Destination: "/vol", Type: "bind", Source: vol, Options: []string{"bind"}}}))
	if got := r.ask("mount -o remount,bind,rw /vol 2>/dev/null; touch /vol/x 2>/dev/null || echo ro"); got != "ro" {
		t.Errorf("the mount became writable: %q", got)
	}
}
