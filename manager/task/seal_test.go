package task

import (
	"log/slog"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A child overwrites descriptors above those that it inherits before it executes the binary: not the binary's own,
// whatever numbers the daemon has in use.
func TestSealedBinaryRunsWhateverIsOpen(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	s, err := seal("/bin/true", slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	for number := 3; number < 200; number++ {
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, number)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		files := []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(fd), null.Fd(), null.Fd()}
		path, done, err := s.executable(files)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := syscall.ForkExec(path, []string{"true"}, &syscall.ProcAttr{Files: files})
		done()
		if err != nil {
			t.Fatalf("with descriptor %d: %v", fd, err)
		}
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.ExitStatus() != 0 {
			t.Fatalf("with descriptor %d: %v, status %v", fd, err, status)
		}
	}
}
