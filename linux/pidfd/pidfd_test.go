package pidfd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

func TestLife(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := StartTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStarted(cmd.Process.Pid, start+1); !errdefs.IsNotFound(err) {
		t.Fatalf("another start time: got %v, want not found", err)
	}
	fd, err := OpenStarted(cmd.Process.Pid, start)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if Exited(fd) {
		t.Fatal("a live process has exited")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := Wait(ctx, fd); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("wait: got %v, want the deadline", err)
	}
	if err := Signal(fd, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := Wait(t.Context(), fd); err != nil || !Exited(fd) {
		t.Fatalf("wait after kill: %v", err)
	}
	_ = cmd.Wait()
	if _, err := Open(cmd.Process.Pid); !errdefs.IsNotFound(err) {
		t.Fatalf("open after reap: got %v, want not found", err)
	}
}

func FuzzParseStart(f *testing.F) {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("1 (a) b) S 1 2"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStart(b) })
}
