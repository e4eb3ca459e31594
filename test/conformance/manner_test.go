package conformance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/test/rig"
)

// named is our runtime under the name of another one, with a bundle.
type named struct {
	t       *testing.T
	dir     string
	program string
	config  []byte
}

func newNamed(t *testing.T, name string) *named {
	t.Helper()
	n := &named{t: t, dir: t.TempDir()}
	n.program = filepath.Join(n.dir, name)
	n.must(os.Symlink(rig.Bin("conex-runtime"), n.program))
	rig.Exec(t, nil, nil, "mv", rootfs(t), n.dir+"/rootfs").OK()
	n.runtime("spec", "--bundle", n.dir).OK()
	var err error
	n.config, err = os.ReadFile(n.dir + "/config.json")
	n.must(err)
	n.edit(`"terminal": true`, `"terminal": false`)
	n.edit(`"sh"`, `"sleep", "1000"`)
	t.Cleanup(func() { n.runtime("delete", "--force", n.id()) })
	return n
}

func (n *named) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *named) id() string { return fmt.Sprintf("conformance-manner-%d", os.Getpid()) }

func (n *named) edit(from, to string) {
	n.t.Helper()
	n.config = replace(n.t, n.config, from, to)
	n.must(os.WriteFile(n.dir+"/config.json", n.config, 0o644))
}

func (n *named) line(args ...string) []string {
	return append([]string{n.program, "--root", n.dir + "/state"}, args...)
}

func (n *named) runtime(args ...string) *rig.Result {
	n.t.Helper()
	return rig.Exec(n.t, nil, nil, n.line(args...)...)
}

// runtime.md forbids to delete a created container without force; by crun's name it goes.
func TestDeleteCreated(t *testing.T) {
	for name, code := range map[string]int{"conex-runtime": 1, "runc": 1, "crun": 0} {
		n := newNamed(t, name)
		n.runtime("create", "--bundle", n.dir, n.id()).OK()
		n.runtime("delete", n.id()).Exits(code)
		n.runtime("delete", "--force", n.id()).OK()
		n.runtime("run", "--detach", "--bundle", n.dir, n.id()).OK()
		n.runtime("delete", n.id()).Exits(1)
		n.runtime("delete", "--force", n.id()).OK()
	}
}

// A descriptor that is not open is an error, or by crun's name a gap that stays one.
func TestPreserveGaps(t *testing.T) {
	const script = `exec 3>&- 4</dev/null 5>&- 6</dev/null 7>&- 8>&-; exec "$0" "$@"`
	for _, name := range []string{"conex-runtime", "crun"} {
		n := newNamed(t, name)
		n.edit(`"sleep",`, `"sh", "-c", "for i in 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/self/fd/$i ] && echo fd $i; done; echo end",`)
		got := rig.Exec(t, nil, nil, append([]string{"bash", "-c", script}, n.line("run", "--preserve-fds", "6", "--bundle", n.dir, n.id())...)...)
		if name == "crun" {
			if got.OK(); got.Out != "fd 4\nfd 6\nend\n" {
				t.Errorf("the container has %q", got.Out)
			}
		} else {
			got.Exits(1).Says("unable to preserve file descriptor 3: bad file descriptor")
		}
	}
}

// The container's word that it is ready reaches the service manager, with the process that the service is, and both `start`
// and a detached `run` wait for it.
func TestNotify(t *testing.T) {
	for _, c := range []struct{ name, verb, socket, main string }{
		{"conex-runtime", "run", "/run/notify/notify.sock", "MAINPID="}, {"runc", "start", "/run/notify/notify.sock", "MAINPID="},
		{"crun", "run", "HOST/notify", ""}, {"crun", "start", "HOST/notify", ""},
	} {
		n := newNamed(t, c.name)
		host := t.TempDir() + "/manager"
		manager := datagrams(t)
		n.must(unix.Bind(manager, &unix.SockaddrUnix{Name: host}))
		n.must(unix.SetsockoptTimeval(manager, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 60}))
		env := []string{"NOTIFY_SOCKET=" + host}
		line := n.line("run", "--detach", "--bundle", n.dir, n.id())
		if c.verb == "start" {
			rig.Exec(t, env, nil, n.line("create", "--bundle", n.dir, n.id())...).OK()
			line = n.line("start", n.id())
		}
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Env = append(os.Environ(), env...)
		n.must(cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		rig.Eventually(t, bound, "it runs", func() bool { return contains(n.runtime("state", n.id()).Out, `"status": "running"`) })
		pid := fieldOf(n.runtime("state", n.id()).OK().Out, `"pid": `)
		socket := datagrams(t)
		n.must(unix.Connect(socket, &unix.SockaddrUnix{Name: "/proc/" + pid + "/root" + strings.Replace(c.socket, "HOST", host, 1)}))
		select {
		case err := <-ended:
			t.Fatalf("%s %s did not wait: %v", c.name, c.verb, err)
		default:
		}
		_, err := unix.Write(socket, []byte("STATUS=nearly\nREADY=1"))
		n.must(err)
		want := "READY=1\n"
		if c.main != "" {
			want += c.main + pid + "\n"
		}
		buf := make([]byte, 200)
		for _, message := range []string{want, "BARRIER=1"} {
			size, err := unix.Read(manager, buf)
			if err != nil || string(buf[:size]) != message {
				t.Errorf("%s %s: the service manager reads %q (%v), want %q", c.name, c.verb, buf[:max(size, 0)], err, message)
			}
		}
		n.must(<-ended)
		n.runtime("delete", "--force", n.id()).OK()
	}
}

func datagrams(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// fieldOf is the number behind key in JSON text.
func fieldOf(text, key string) string {
	_, rest, _ := strings.Cut(text, key)
	return rest[:strings.IndexAny(rest, ",\n}")]
}
