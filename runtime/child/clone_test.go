package child

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/handshake"
)

// Under a filter that answers clone3(2) with ENOSYS the process comes by clone(2); what that cannot express stays an
// error.
func TestOlderClone(t *testing.T) {
	p, err := First(-1, []string{"true"}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	host, inside, err := handshake.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(host) }()
	p.sync = inside
	p.pidfd = -1
	p.prepare(0, -1)
	if !p.older() {
		t.Fatal("clone(2) cannot express a plain process")
	}
	r, errno := clone(p)
	_ = unix.Close(inside)
	if errno != 0 {
		t.Fatal(errno)
	}
	if err := pidfd.Wait(t.Context(), int(p.pidfd)); err != nil {
		t.Errorf("the pidfd: %v", err)
	}
	_ = unix.Close(int(p.pidfd))
	var ws unix.WaitStatus
	if _, err := unix.Wait4(int(r), &ws, 0, nil); err != nil || ws.ExitStatus() != 0 {
		t.Errorf("wait: %v, %v", ws, err)
	}
	for _, flags := range []int{unix.CLONE_NEWTIME} {
		p.prepare(flags, -1)
		if p.older() {
			t.Errorf("clone(2) would take the flags %#x for a signal", flags)
		}
	}
	if p.prepare(0, 3); p.older() {
		t.Error("clone(2) cannot place a process into a cgroup")
	}
}
