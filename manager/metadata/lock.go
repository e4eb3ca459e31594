package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/base/errdefs"
)

// lockSuffix names the file whose flock(2) keeps a second daemon away and whose text is the holder's pid.
const lockSuffix = ".lock"

// bootSuffix names the file that tells under which boot a volatile database was written.
const bootSuffix = ".boot"

// acquire takes the lock of the database at path, waiting at most o.LockTimeout for its holder. The lock ends with
// the process, so nothing has to be cleaned up after a crash.
func acquire(path string, o Options) (*os.File, error) {
	flags, mode := os.O_RDWR|os.O_CREATE, unix.LOCK_EX
	if o.ReadOnly {
		flags, mode = os.O_RDONLY, unix.LOCK_SH
	}
	f, err := os.OpenFile(path+lockSuffix, flags, 0o600)
	if o.ReadOnly && errors.Is(err, fs.ErrNotExist) {
		return nil, errdefs.NotFound("database %s: no database is there", path)
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	if err := flock(f, mode, o.LockTimeout); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errdefs.Unavailable("database %s is in use by %s: stop it, or use another directory (--data-root and --exec-root)",
				path, holder(path))
		}
		_ = f.Close()
		return nil, fmt.Errorf("database %s: lock: %w", path, err)
	}
	if o.ReadOnly {
		return f, nil
	}
	if err := sign(f); err != nil && !full(err) { // it only helps to say who has it
		_ = f.Close()
		return nil, fmt.Errorf("database %s: lock: %w", path, err)
	}
	return f, nil
}

// sign writes this process's id into the lock's file. It is written over the old one, whose block a full disk would not
// give again.
func sign(f *os.File) error {
	text := []byte(strconv.Itoa(os.Getpid()) + "\n")
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// flock locks f, without polling: when the lock is not free a goroutine waits for it in the kernel. After a
// time-out (EWOULDBLOCK) that goroutine owns f and closes it once the lock comes.
func flock(f *os.File, mode int, timeout time.Duration) error {
	err := unix.Flock(int(f.Fd()), mode|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	got := make(chan error) // not buffered: whoever is late must notice it
	late := make(chan struct{})
	go func() {
		var err error
		for {
			if err = unix.Flock(int(f.Fd()), mode); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		select {
		case got <- err:
		case <-late:
			_ = f.Close()
		}
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-got:
		return err
	case <-timer.C:
		close(late)
		return unix.EWOULDBLOCK
	}
}

// holder names the process that the lock file tells of.
func holder(path string) string {
	raw, err := os.ReadFile(path + lockSuffix)
	if err != nil {
		return "another process"
	}
	pid := strings.TrimSpace(string(raw))
	if _, err := strconv.Atoi(pid); err != nil {
		return "another process"
	}
	if comm, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil {
		return fmt.Sprintf("process %s (%s)", pid, bytes.TrimSpace(comm))
	}
	return "process " + pid
}

// discardOtherBoot removes a volatile database that was written before the machine last started: nothing of what it
// tells of can still be running, and without syncs its content cannot be trusted.
func discardOtherBoot(path string) error {
	boot, err := BootID()
	if err != nil {
		return err
	}
	if err := atomicfile.Sweep(path + bootSuffix); err != nil {
		return err
	}
	was, err := os.ReadFile(path + bootSuffix)
	if err == nil && string(was) == boot {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.Write(path+bootSuffix, []byte(boot), 0o600, false)
}

// BootID returns the kernel's random id of this boot (random(4), /proc/sys/kernel/random/boot_id).
func BootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
