package container

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/namespace"
)

// number reads lines until one is a number greater than past.
func number(t *testing.T, r *bufio.Reader, past int) int {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d: %v", past, err)
		}
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && n > past {
			return n
		}
	}
}

// As the shim does it: an overlay that is mounted nowhere, a network namespace by descriptor, pipes for streams. The
// restored process is this one's child, and counts on into another pipe.
func TestCheckpointAndRestore(t *testing.T) {
	if _, err := exec.LookPath("criu"); err != nil {
		t.Skip("criu is not installed here: make test-v2 runs this test")
	}
	f := newFixture(t)
	rootfs := f.overlayRoot(40, "o") // too long for fsconfig(2): where layers are not given one by one it is made on "/"
	var net *os.File
	f.must(namespace.Throwaway(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		net, err = os.Open("/proc/thread-self/ns/net")
		return err
	}))
	defer func() { _ = net.Close() }()
	f.spec.Root.Path = ""
	f.sh("i=0; echo mark >/tmp/mark; while true; do i=$((i+1)); echo $i; sleep 0.02; done")
	r, w, err := os.Pipe()
	f.must(err)
	o := f.options(w)
	o.Rootfs, o.NetNS = rootfs, net
	c, err := Create(t.Context(), o)
	f.must(err)
	f.must(w.Close())
	f.must(c.Start(t.Context()))
	lines := bufio.NewReader(r)
	number(t, lines, 3)
	from := CheckpointOptions{ImagePath: filepath.Join(f.bundle, "checkpoint")}
	err = c.Checkpoint(t.Context(), from)
	if err != nil {
		f.must(c.Delete(context.Background(), true))
		wait(t, c.Pid())
		if strings.Contains(err.Error(), "kerndat_vdso") && os.Getenv("CONEX_VM") == "" {
			t.Skipf("the CRIU of this machine does not fit its kernel; make test-v2 runs this test: %v", err)
		}
		t.Fatal(err)
	}
	if ws := wait(t, c.Pid()); ws.Signal() != unix.SIGKILL {
		t.Errorf("the saved process ended with %v", ws)
	}
	last := 0
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		last, _ = strconv.Atoi(strings.TrimSpace(line))
	}
	f.must(c.Delete(t.Context(), false))
	f.restoreTwice(o, from, last, net)
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

// restoreTwice restores the checkpoint and deletes the container; once more, to see that nothing was left in the way.
func (f *fixture) restoreTwice(o Options, from CheckpointOptions, last int, net *os.File) {
	t := f.t.(*testing.T)
	want, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", net.Fd()))
	f.must(err)
	for range 2 {
		r, w, err := os.Pipe()
		f.must(err)
		o.Stdio = [3]*os.File{nil, w, w}
		o.PidFile = filepath.Join(f.bundle, "pid")
		c, err := Restore(t.Context(), o, from)
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(from.ImagePath, restoreLog))
			t.Fatalf("%v\n%s", err, log)
		}
		f.must(w.Close())
		if n := number(t, bufio.NewReader(r), 0); n != last+1 {
			t.Errorf("it counted to %d and goes on with %d", last, n)
		}
		f.must(r.Close())
		if s, err := c.State(t.Context()); err != nil || s.Status != specs.StateRunning || s.Pid != c.Pid() {
			t.Errorf("state %+v, %v", s, err)
		}
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.Pid())); err != nil || got != want {
			t.Errorf("network %s, %v, not %s", got, err, want)
		}
		again := &running{Container: c, t: t}
		if got := again.exec("cat /tmp/mark"); got != "mark" {
			t.Errorf("exec: %q", got)
		}
		f.must(c.Kill(t.Context(), unix.SIGKILL, false))
		wait(t, c.Pid()) // fails unless it is a child
		f.must(c.Delete(t.Context(), false))
	}
}

// A checkpoint that does not exist leaves nothing behind.
func TestRestoreWithoutCheckpoint(t *testing.T) {
	f := newFixture(t)
	if _, err := Restore(t.Context(), f.options(nil), CheckpointOptions{ImagePath: filepath.Join(f.bundle, "none")}); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(f.root, "c1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory is left: %v", err)
	}
	if l := f.leaks(); len(l) > 0 {
		t.Errorf("left: %q", l)
	}
}

func TestParseMounts(t *testing.T) {
	got := parseMounts("36 35 98:0 /m\\0401 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\nbroken\n37 35 0:5 /null /proc/kcore rw,idmapped - devtmpfs dev rw\n")
	want := []mountEntry{{36, "/m 1", "/mnt2", "ext3", false}, {37, "/null", "/proc/kcore", "devtmpfs", true}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v", got)
	}
	if m := parseGroupMount("30 25 0:25 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup rw,nsdelegate\n"); m != (groupMount{"/sys/fs/cgroup", "rw,nsdelegate"}) {
		t.Errorf("got %v", m)
	}
}
