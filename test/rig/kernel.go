package rig

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// EROFS tells whether the kernel mounts EROFS images from files (Linux 6.12), by asking it: an empty file is EINVAL then,
// and ENOTBLK where only block devices are taken.
func EROFS(t testing.TB) bool {
	t.Helper()
	fd, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	path := t.TempDir() + "/empty"
	if err := errors.Join(os.WriteFile(path, make([]byte, 8192), 0o600), unix.FsconfigSetString(fd, "source", path)); err != nil {
		t.Fatal(err)
	}
	return !errors.Is(unix.FsconfigCreate(fd), unix.ENOTBLK)
}
