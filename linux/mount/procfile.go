package mount

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// PrivateProc makes a proc of the caller's pid namespace that nobody else can reach or cover: the file that a write
// goes to is then the kernel's for certain (CVE-2019-16884, CVE-2025-52881).
func PrivateProc() (Tree, error) { return New("proc", "proc", Options{}) }

// WriteProc writes data to the file name of the proc mount. The path must be plain and stay on this very mount.
func (t Tree) WriteProc(name, data string) error {
	how := unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := unix.Openat2(int(t), name, &how)
	if err != nil {
		return fmt.Errorf("open /proc/%s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("/proc/%s: %w", name, err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return errdefs.FailedPrecondition("/proc/%s is not the kernel's", name)
	}
	if _, err := unix.Write(fd, []byte(data)); err != nil {
		return fmt.Errorf("write /proc/%s: %w", name, err)
	}
	return nil
}
