package cli

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/pidfd"
)

// notifying is a container's side and a process, which ends when its stdin does.
func notifying(t *testing.T, host string) (n *notifier, container, process int, end io.Closer) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	process, err = pidfd.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	n = &notifier{socket: pair[0], host: host}
	t.Cleanup(func() {
		n.close()
		_ = unix.Close(pair[1])
		_ = in.Close()
		_ = cmd.Wait()
		_ = unix.Close(process)
	})
	return n, pair[1], process, in
}

func send(t *testing.T, fd int, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if _, err := unix.Write(fd, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReady(t *testing.T) {
	n, container, process, end := notifying(t, "")
	send(t, container, "MAINPID=1\nFDSTORE=1", "READY=0", "XREADY=1", "STATUS=up\nREADY=1\n")
	if ready, err := n.ready(t.Context(), process); !ready || err != nil {
		t.Errorf("%v, %v", ready, err)
	}
	send(t, container, "READY=1") // and then the end
	_ = end.Close()
	if err := pidfd.Wait(t.Context(), process); err != nil {
		t.Fatal(err)
	}
	if ready, err := n.ready(t.Context(), process); !ready || err != nil {
		t.Errorf("a word before the end: %v, %v", ready, err)
	}
	send(t, container, "STOPPING=1")
	if ready, err := n.ready(t.Context(), process); ready || err != nil {
		t.Errorf("no word before the end: %v, %v", ready, err)
	}
}

// The service manager gets what is its affair and nothing else, and the barrier waits until it has read.
func TestTell(t *testing.T) {
	host := filepath.Join(t.TempDir(), "manager")
	for quiet, want := range map[bool]string{false: "READY=1\nMAINPID=42\n", true: "READY=1\n"} {
		_ = os.Remove(host)
		manager, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(manager) }()
		n := &notifier{host: host, quiet: quiet}
		if _, err := n.tell(42); err == nil {
			t.Error("told nobody")
		}
		if err := unix.Bind(manager, &unix.SockaddrUnix{Name: host}); err != nil {
			t.Fatal(err)
		}
		fd, err := n.tell(42)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		passed := make(chan error, 1)
		go func() { passed <- barrier(fd) }()
		buf := make([]byte, 100)
		size, err := unix.Read(manager, buf)
		if err != nil || string(buf[:size]) != want {
			t.Errorf("the manager reads %q, %v", buf[:max(size, 0)], err)
		}
		rights := make([]byte, unix.CmsgSpace(4))
		size, m, _, _, err := unix.Recvmsg(manager, buf, rights, unix.MSG_CMSG_CLOEXEC)
		if err != nil || string(buf[:size]) != "BARRIER=1" || m == 0 {
			t.Fatalf("the manager reads %q with %d bytes of rights, %v", buf[:max(size, 0)], m, err)
		}
		list, err := unix.ParseSocketControlMessage(rights[:m])
		if err != nil {
			t.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&list[0])
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-passed:
			t.Errorf("the barrier was passed before the manager had read: %v", err)
		default:
		}
		_ = unix.Close(fds[0])
		if err := <-passed; err != nil {
			t.Errorf("barrier: %v", err)
		}
	}
}

func TestNotifyPlace(t *testing.T) {
	for _, c := range []struct{ name, host, want string }{
		{"conex-runtime", "", ""}, {"crun", "", ""},
		{"conex-runtime", "/run/systemd/notify", "/run/notify/notify.sock"}, {"crun", "/run/systemd/notify", "/run/systemd/notify/notify"},
		{"crun", "@abstract", "/run/notify/notify.sock"},
	} {
		t.Setenv(notifyVariable, c.host)
		a := &app{manner: mannerOf(c.name)}
		if got := a.notifyPlace(); got != c.want {
			t.Errorf("%s with %s: %s, want %s", c.name, c.host, got, c.want)
		}
	}
}
