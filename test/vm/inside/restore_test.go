package inside

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// console receives a terminal's master as --console-socket sends it.
func console(t *testing.T, path string) chan *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan *os.File, 1)
	go func() {
		defer func() { _ = l.Close() }()
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		b, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := c.ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		if list, err := unix.ParseSocketControlMessage(oob[:n]); err == nil && len(list) == 1 {
			if fds, err := unix.ParseUnixRights(&list[0]); err == nil && len(fds) == 1 {
				out <- os.NewFile(uintptr(fds[0]), "master")
			}
		}
	}()
	return out
}

// ask types a line and waits for the answer.
func ask(t *testing.T, master *os.File, line, answer string) {
	t.Helper()
	if _, err := master.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		var all []byte
		b := make([]byte, 1024)
		for !strings.Contains(string(all), answer) {
			n, err := master.Read(b)
			if err != nil {
				break
			}
			all = append(all, b[:n]...)
		}
		got <- string(all)
	}()
	select {
	case s := <-got:
		if !strings.Contains(s, answer) {
			t.Fatalf("%q: answer %q", line, s)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%q: no answer", line)
	}
}

// The shell on the terminal is the same one after restore, on a new terminal of whoever restores it.
func TestRestoreTerminal(t *testing.T) {
	b := newBundle(t)
	b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: pointer(int64(50))}
	b.spec.Process.Terminal = true
	b.spec.Process.Args = []string{"/bin/sh"}
	socket := filepath.Join(b.dir, "console")
	masters := console(t, socket)
	b.start("--console-socket", socket)
	first := <-masters
	ask(t, first, "secret=ab; echo ${secret}cd", "abcd")
	b.criu("checkpoint/dump.log", "checkpoint", "--image-path", "checkpoint")
	_ = first.Close()
	_ = os.Remove(socket)
	masters = console(t, socket)
	b.detachedCRIU("checkpoint/restore.log", "restore", "--detach", "--image-path", "checkpoint", "--console-socket", socket)
	second := <-masters
	defer func() { _ = second.Close() }()
	ask(t, second, "echo ${secret}ef; tty", "abef")
	b.t.Cleanup(func() { _, _ = b.try("delete", "--force", b.id) })
}

// In the foreground restore waits, prints what the container prints, and ends as it ends.
func TestRestoreForeground(t *testing.T) {
	b := newBundle(t)
	b.sh("while [ ! -e /data/go ]; do sleep 0.05; done; echo words; exit 7")
	b.start()
	b.until("running", func() bool { return strings.Contains(b.runtime("ps", b.id), "sleep") })
	b.criu("checkpoint/dump.log", "checkpoint", "--image-path", "checkpoint")
	b.must(os.WriteFile(b.path("data/go"), nil, 0o644))
	if out, err := b.try("restore", "--image-path", "checkpoint", b.id); err == nil || !strings.Contains(out, "stream 1 was a file") {
		t.Errorf("a pipe for a file: %v, %s", err, out)
	}
	out, err := os.OpenFile(b.out, os.O_RDWR|os.O_TRUNC, 0)
	b.must(err)
	defer func() { _ = out.Close() }()
	cmd := exec.Command(program, "restore", "--image-path", "checkpoint", b.id)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = b.dir, strings.NewReader("x"), out, out
	err = cmd.Run()
	if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != 7 || b.read(b.out) != "words" {
		log, _ := os.ReadFile(filepath.Join(b.dir, "checkpoint/restore.log"))
		t.Errorf("%v, output %q\n%s", err, b.read(b.out), log[max(0, len(log)-4000):])
	}
	if _, err := b.try("state", b.id); err == nil {
		t.Error("the container is left")
	}
}

// A network namespace that others made is not in the checkpoint: the restored container is in that one again.
func TestRestoreSharedNetwork(t *testing.T) {
	b := counting(t)
	holder := exec.Command("sleep", "1000")
	holder.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	b.must(holder.Start())
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	path := fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
	for i, ns := range b.spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace {
			b.spec.Linux.Namespaces[i].Path = path
		}
	}
	want, err := os.Readlink(path)
	b.must(err)
	b.start()
	b.counts(3)
	b.criu("checkpoint/dump.log", "checkpoint", "--image-path", "checkpoint")
	before := b.count()
	b.detachedCRIU("checkpoint/restore.log", "restore", "--detach", "--image-path", "checkpoint")
	b.counts(before)
	b.restored()
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", b.state().Pid)); err != nil || got != want {
		t.Errorf("network %s, %v, not %s", got, err, want)
	}
}

// A user namespace comes back with its mapping.
func TestRestoreUserNamespace(t *testing.T) {
	b := counting(t)
	b.mapped()
	for i, m := range b.spec.Mounts {
		if m.Type == "devpts" { // CRIU reads gid=5 as the host sees it, and cannot give it again
			b.spec.Mounts[i].Options = []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
		}
	}
	b.must(os.Chown(filepath.Join(b.dir, "volume"), 100000, 100000))
	b.start()
	b.counts(3)
	b.criu("checkpoint/dump.log", "checkpoint", "--image-path", "checkpoint")
	before := b.count()
	b.detachedCRIU("checkpoint/restore.log", "restore", "--detach", "--image-path", "checkpoint")
	b.counts(before)
	b.restored()
	b.expect(fmt.Sprintf("/proc/%d/uid_map", b.state().Pid), "0     100000      65536")
}

// The memory stays behind and is fetched when the restored processes touch it.
func TestLazyPages(t *testing.T) {
	const port = "27277"
	b := counting(t)
	b.start()
	b.counts(3)
	r, w, err := os.Pipe()
	b.must(err)
	var text bytes.Buffer
	dump := exec.Command(program, "checkpoint", "--lazy-pages", "--page-server", "127.0.0.1:"+port, "--status-fd", "3", "--image-path", "checkpoint",
		"--work-path", "work", "--manage-cgroups-mode", "ignore", b.id)
	dump.Dir, dump.ExtraFiles, dump.Stderr = b.dir, []*os.File{w}, &text
	b.must(dump.Start())
	_ = w.Close()
	ready := make([]byte, 1)
	if n, err := r.Read(ready); n != 1 || ready[0] != 0 {
		_ = dump.Wait()
		log, _ := os.ReadFile(filepath.Join(b.dir, "work/dump.log"))
		t.Fatalf("no lazy pages: %v %s\n%s", err, text.String(), log)
	}
	before := b.count()
	daemon := exec.Command("criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", port, "-D", "checkpoint", "-W", b.dir)
	daemon.Dir = b.dir
	b.must(daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	c := *b
	c.id, c.spec.Linux = b.id+"-far", pointer(*b.spec.Linux)
	c.spec.Linux.CgroupsPath = "/conex-test/" + c.id
	c.write()
	c.until("the daemon's socket", func() bool { _, err := os.Stat(filepath.Join(b.dir, "lazy-pages.socket")); return err == nil })
	c.detachedCRIU("restore.log", "restore", "--detach", "--lazy-pages", "--image-path", "checkpoint", "--work-path", ".", "--manage-cgroups-mode", "ignore")
	c.t.Cleanup(func() { _, _ = c.try("delete", "--force", c.id) })
	c.counts(before)
	if err := dump.Wait(); err != nil {
		t.Errorf("checkpoint: %v %s", err, text.String())
	}
	if s := c.state(); s.Status != "running" {
		t.Errorf("status %s", s.Status)
	}
}

// What cannot be saved or found is refused with its name.
func TestRefusals(t *testing.T) {
	b := counting(t)
	b.write()
	b.detached("create")
	t.Cleanup(func() { _, _ = b.try("delete", "--force", b.id) })
	refuse := func(want string, args ...string) {
		t.Helper()
		if out, err := b.try(append(args, b.id)...); err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v, %s", args, err, out)
		}
	}
	refuse("cannot be checkpointed in created state", "checkpoint")
	b.runtime("start", b.id)
	b.counts(1)
	refuse("must be relative", "checkpoint", "--parent-path", "/tmp")
	refuse("no such directory", "checkpoint", "--parent-path", "nowhere")
	refuse("soft, full, strict, ignore", "checkpoint", "--manage-cgroups-mode", "all")
	refuse("only network is", "checkpoint", "--empty-ns", "pid")
	refuse("ADDRESS:PORT", "checkpoint", "--page-server", "host")
	refuse("--status-fd", "checkpoint", "--status-fd", strconv.Itoa(77))
	refuse("container with id exists", "restore", "--image-path", ".")
	refuse("no checkpoint at", "restore", "--image-path", "nowhere")
	cmd := exec.Command(program, "checkpoint", b.id)
	cmd.Dir, cmd.Env = b.dir, []string{"PATH=/nowhere"}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "apt-get install criu") {
		t.Errorf("without criu: %v, %s", err, out)
	}
	m := newBundle(t)
	m.id += "-mapped"
	m.spec.Linux.CgroupsPath += "-mapped"
	m.mapped()
	m.spec.Mounts = append(m.spec.Mounts, specs.Mount{Destination: "/volume", Source: m.dir, Type: "bind", Options: []string{"bind", "idmap"}})
	m.sh("sleep 1000")
	m.start()
	if out, err := m.try("checkpoint", m.id); err == nil || !strings.Contains(out, "mount /volume has an id mapping") {
		t.Errorf("id mapping: %v, %s", err, out)
	}
	if n := b.count(); n == 0 {
		t.Error("it counts no more")
	}
	b.counts(b.count())
}

// Twice, as people do who move a container on: with a destination that is a link, a mount inside a mount whose mount
// point has gone meanwhile, and a process that came by exec.
func TestRestoreTwice(t *testing.T) {
	b := counting(t)
	b.must(os.MkdirAll(b.path("real/conf"), 0o755))
	b.must(os.Symlink("/real/conf", b.path("conf")))
	for _, name := range []string{"conf", "nested", "file"} {
		b.must(os.MkdirAll(filepath.Join(b.dir, name), 0o755))
	}
	b.must(os.WriteFile(filepath.Join(b.dir, "file", "f"), []byte("file"), 0o644))
	bind := func(dest, source string) {
		b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: dest, Source: source, Type: "bind", Options: []string{"bind"}})
	}
	bind("/conf", "conf")
	bind("/data/for/nested", filepath.Join(b.dir, "nested"))
	bind("/etc/one", "file/f")
	b.start()
	sleeper := ""
	for range 2 {
		b.counts(b.count() + 2)
		b.criu("checkpoint/dump.log", "checkpoint", "--image-path", "checkpoint", "--work-path", "checkpoint")
		b.must(os.RemoveAll(filepath.Join(b.dir, "volume", "for")))
		before := b.count()
		b.detachedCRIU("checkpoint/restore.log", "restore", "--detach", "--image-path", "checkpoint")
		b.counts(before)
		b.restored()
		if sleeper != "" {
			b.runtime("exec", b.id, "ls", "/proc/"+sleeper)
		}
		b.runtime("exec", b.id, "touch", "/data/for/nested/x", "/conf/x")
		if out := b.runtime("exec", b.id, "cat", "/etc/one"); out != "file" {
			t.Errorf("the file is %q", out)
		}
		sleeper = b.runtime("exec", b.id, "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!")
	}
	if _, err := os.Stat(filepath.Join(b.dir, "conf", "x")); err != nil {
		t.Error(err)
	}
}
