// Package namespace opens and enters Linux namespaces (namespaces(7)).
package namespace

import (
	"fmt"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/prelude"
)

// Flag is the CLONE_NEW* flag of the specification's namespace type.
func Flag(t specs.LinuxNamespaceType) (int, error) {
	switch t {
	case specs.PIDNamespace:
		return unix.CLONE_NEWPID, nil
	case specs.NetworkNamespace:
		return unix.CLONE_NEWNET, nil
	case specs.MountNamespace:
		return unix.CLONE_NEWNS, nil
	case specs.IPCNamespace:
		return unix.CLONE_NEWIPC, nil
	case specs.UTSNamespace:
		return unix.CLONE_NEWUTS, nil
	case specs.UserNamespace:
		return unix.CLONE_NEWUSER, nil
	case specs.CgroupNamespace:
		return unix.CLONE_NEWCGROUP, nil
	case specs.TimeNamespace:
		return unix.CLONE_NEWTIME, nil
	}
	return 0, errdefs.InvalidArgument("namespace type %q is not known", t)
}

// Open opens the namespace file at path and checks that it is of the kind that flag (CLONE_NEW*) says.
func Open(path string, flag int) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open namespace", Path: path, Err: err}
	}
	if err := Check(fd, flag); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("namespace %s: %w", path, err)
	}
	return fd, nil
}

// Check reports an error of class InvalidArgument unless fd is a namespace of the kind flag.
func Check(fd, flag int) error {
	got, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil {
		return errdefs.InvalidArgument("is no namespace: %w", err)
	}
	if got != flag {
		return errdefs.InvalidArgument("is a namespace of another kind (%#x, not %#x)", got, flag)
	}
	return nil
}

// Of opens the namespace of process pid that file (ns/net, ns/mnt, ...) names.
func Of(pid int, file string) (int, error) {
	path := fmt.Sprintf("/proc/%d/ns/%s", pid, file)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open namespace", Path: path, Err: err}
	}
	return fd, nil
}

// Same tells whether the namespace fd is the one of this program that file (net, user, ...) names.
func Same(fd int, file string) (bool, error) {
	var there, here unix.Stat_t
	if err := unix.Fstat(fd, &there); err != nil {
		return false, fmt.Errorf("%s namespace: %w", file, err)
	}
	path := "/proc/self/ns/" + file
	if err := unix.Stat(path, &here); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return there.Dev == here.Dev && there.Ino == here.Ino, nil
}

// Parent opens the user namespace above userns (ioctl_ns(2)); EPERM when that is not below the caller's own.
func Parent(userns int) (int, error) {
	fd, err := unix.IoctlRetInt(userns, unix.NS_GET_PARENT)
	if err != nil {
		return -1, fmt.Errorf("parent of a user namespace: %w", err)
	}
	return fd, nil
}

// Throwaway runs f on an operating system thread of its own, which ends with f: whatever namespaces, root directory
// or credentials f changes on its thread, nobody else ever sees them. Processes that f starts inherit them.
func Throwaway(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end before the process, and /proc/self is this thread's view: keep it busy
			// while another one does the work.
			done <- Throwaway(f)
			runtime.UnlockOSThread()
			return
		}
		prelude.Room()
		done <- f() // never unlocked: the runtime ends the thread with the goroutine
	}()
	return <-done
}
