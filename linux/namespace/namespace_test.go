package namespace

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

func link(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whatever happens on a throw-away thread stays there, also when the caller is on the first thread.
func TestThrowaway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	before := link(t, "/proc/self/ns/uts")
	for range 50 {
		var inside string
		err := Throwaway(func() error {
			if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
				return err
			}
			inside = link(t, "/proc/thread-self/ns/uts")
			return nil
		})
		if err != nil || inside == before {
			t.Fatalf("inside %s, before %s, %v", inside, before, err)
		}
	}
	// A thread that ends is in the list for a moment more.
	var stayed []string
	for range 500 {
		if stayed = elsewhere(t, before); len(stayed) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("threads stayed elsewhere: %v", stayed)
}

// elsewhere lists the threads that are not in the UTS namespace home.
func elsewhere(t *testing.T, home string) (out []string) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if got, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/uts"); err == nil && got != home {
			out = append(out, task.Name()+" in "+got)
		}
	}
	return out
}

func TestOpenChecksTheKind(t *testing.T) {
	fd, err := Open("/proc/self/ns/net", unix.CLONE_NEWNET)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	for _, path := range []string{"/proc/self/ns/uts", "/etc/passwd"} {
		if _, err := Open(path, unix.CLONE_NEWNET); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
