package cli

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/prelude"
)

// seal makes sure that this program's own file cannot be written to through /proc/PID/exe by a container whose
// program is /proc/self/exe (CVE-2019-5736): unless the file lies on a read-only mount already, the program executes
// itself once more from a detached read-only mount of it, which no container is ever able to make writable. Whoever
// starts it often executes it from such a mount himself and saves this. As the Makefile builds the program, linux/prelude
// has done it before Go's runtime started; this is for what it did not recognize, and says what is wrong.
func seal() error {
	forget()
	exe, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open own program: %w", err)
	}
	defer func() { _ = unix.Close(exe) }()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(exe, &fs); err != nil {
		return fmt.Errorf("own program: %w", err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 || os.Geteuid() != 0 {
		return nil // sealed; or not privileged, and then what the container's user may write he may write anyway
	}
	t, err := mount.Clone(unix.AT_FDCWD, "/proc/self/exe", false)
	if errors.Is(err, unix.EPERM) {
		return nil // root of a user namespace that does not own the mounts: likewise
	}
	if err != nil {
		return fmt.Errorf("seal own program: %w", err)
	}
	defer t.Close()
	if err := t.SetAttr(mount.Attr{Set: unix.MOUNT_ATTR_RDONLY}, false); err != nil {
		return fmt.Errorf("seal own program: %w", err)
	}
	err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(int(t)), os.Args, alone(os.Environ()))
	return fmt.Errorf("seal own program: exec: %w", err)
}

// alone adds what the entry of a sealed program does (linux/prelude), for one that was built without it.
func alone(env []string) []string {
	if os.Getenv(prelude.MaxProcs) != "" {
		return env
	}
	return append(env, prelude.MaxProcs+"=1", prelude.OwnMark+"=1")
}

// forget takes the variables of alone away again: what this program starts is not to see them.
func forget() {
	if os.Getenv(prelude.OwnMark) != "" {
		_ = os.Unsetenv(prelude.MaxProcs)
		_ = os.Unsetenv(prelude.OwnMark)
	}
}
