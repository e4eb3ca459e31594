package container

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// The container has a socket at $NOTIFY_SOCKET, in a directory where it can put nothing, and the caller reads it.
func TestNotifySocket(t *testing.T) {
	const at = "/run/below/name"
	f := newFixture(t)
	f.sh("echo $NOTIFY_SOCKET; touch /run/below/other; rm /run/below/name; echo end; sleep 100")
	out, err := os.CreateTemp(f.bundle, "out-")
	f.must(err)
	o := f.options(out)
	o.NotifySocket = at
	made, err := Create(context.Background(), o)
	f.must(err)
	r := &running{Container: made, t: t, out: out}
	t.Cleanup(r.cleanup)

	again, err := Load(f.root, "c1")
	f.must(err)
	defer func() { _ = again.Close() }()
	fd, err := again.ListenNotify()
	f.must(err)
	f.must(unix.Close(fd))
	fd, err = again.ListenNotify() // a second time, after a start that failed
	f.must(err)
	defer func() { _ = unix.Close(fd) }()
	f.must(again.Start(t.Context()))
	r.until("end\n")
	if got := r.output(); !strings.HasPrefix(got, at+"\n") || strings.Count(got, "Read-only file system") != 2 {
		t.Errorf("the container says %q", got)
	}

	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	f.must(err)
	defer func() { _ = unix.Close(s) }()
	f.must(unix.Connect(s, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/%d/root%s", r.Pid(), at)}))
	if _, err := unix.Write(s, []byte("READY=1")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("read %q, %v", buf[:max(n, 0)], err)
	}
}

func TestNoNotifySocket(t *testing.T) {
	f := newFixture(t)
	f.sh("sleep 100")
	r, err := f.create()
	f.must(err)
	if fd, err := r.ListenNotify(); fd != -1 || err != nil {
		t.Errorf("a socket that nobody asked for: %d, %v", fd, err)
	}
	o := f.options(nil)
	o.ID = "c2"
	for _, bad := range []string{"relative/name", "/name"} {
		o.NotifySocket = bad
		if _, err := Create(t.Context(), o); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
