package inode

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpread(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // again is right too
		if err := Spread(dir); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.EXT4_SUPER_MAGIC {
		t.Logf("the flag itself is not looked at: %s is not on ext4", dir)
		return
	}
	if flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); err != nil || flags&topDir == 0 {
		t.Fatalf("flags %#x, %v", flags, err)
	}
	if err := Spread(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("of a missing directory: %v", err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Spread(filepath.Join(dir, "link")); err == nil {
		t.Fatal("a link was followed")
	}
}

func TestSpreadElsewhere(t *testing.T) {
	if err := Spread("/proc/self"); err != nil {
		if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
	}
	if err := Spread("/proc"); err != nil {
		t.Fatalf("a file system without flags: %v", err)
	}
}
