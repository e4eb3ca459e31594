package prelude

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What runs in this file has no Go runtime yet: no g, no heap, no stack to grow. Functions are nosplit and only make
// raw system calls; memory is the process's first stack and these variables.
var (
	environment [4096]uintptr
	readOnly    = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	file        unix.Statfs_t
)

// MaxProcs and its mark go into the environment of a sealed program: one processor is enough for one that does one
// thing after the other, and saves Go's scheduler the start of threads for the rest. The mark says that MaxProcs is
// not the caller's own choice.
const (
	MaxProcs = "GOMAXPROCS"
	OwnMark  = "_CONEX_PROCESSORS"

	self     = "/proc/self/exe\x00"
	nothing  = "\x00"
	one      = MaxProcs + "=1\x00"
	mark     = OwnMark + "=1\x00"
	procsKey = MaxProcs + "="
)

// verbs are the commands that start a process inside a container.
const verbs = "run\x00create\x00exec\x00restore\x00"

var _ = begin // by entry_*.s

// begin is called with the stack as the kernel made it (argc, argv, NULL, envp, NULL).
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func begin(stack uintptr, sealed uintptr) {
	if sealed != 0 && wanted(stack) {
		seal(stack)
	}
	own, _, errno := syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_GET_TIMERSLACK, 0, 0, 0, 0, 0)
	if errno != 0 || own == 0 {
		return
	}
	slack, mine = own, coarse
	if sealed != 0 {
		mine = patient
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, mine, 0, 0, 0, 0)
}

// seal executes the program once more, from a detached read-only bind mount of its file, unless the file is on a
// read-only mount already: see runtime/cli, which does the same in Go and says what went wrong, if this returns.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func seal(stack uintptr) {
	if uid, _, _ := syscall.RawSyscall6(unix.SYS_GETEUID, 0, 0, 0, 0, 0, 0); uid != 0 {
		return
	}
	const here = ^uintptr(99) // AT_FDCWD
	exe, _, errno := syscall.RawSyscall6(unix.SYS_OPENAT, here, text(self), unix.O_PATH|unix.O_CLOEXEC, 0, 0, 0)
	if errno != 0 {
		return
	}
	_, _, errno = syscall.RawSyscall6(unix.SYS_FSTATFS, exe, uintptr(unsafe.Pointer(&file)), 0, 0, 0, 0)
	if errno == 0 && file.Flags&unix.ST_RDONLY == 0 {
		again(stack, exe)
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_CLOSE, exe, 0, 0, 0, 0, 0)
}

// again makes the mount and executes the program from it.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func again(stack, exe uintptr) {
	const clone = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH
	tree, _, errno := syscall.RawSyscall6(unix.SYS_OPEN_TREE, exe, text(nothing), clone, 0, 0, 0)
	if errno != 0 {
		return
	}
	_, _, errno = syscall.RawSyscall6(unix.SYS_MOUNT_SETATTR, tree, text(nothing), unix.AT_EMPTY_PATH,
		uintptr(unsafe.Pointer(&readOnly)), unsafe.Sizeof(readOnly), 0)
	if errno == 0 && environ(stack) {
		_, _, _ = syscall.RawSyscall6(unix.SYS_EXECVEAT, tree, text(nothing), stack+unsafe.Sizeof(stack),
			uintptr(unsafe.Pointer(&environment)), unix.AT_EMPTY_PATH, 0)
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_CLOSE, tree, 0, 0, 0, 0, 0)
}

// environ fills in the environment of the sealed program; false when it is too large.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func environ(stack uintptr) bool {
	argc := word(stack)
	chosen, n := false, uintptr(0)
	for ; n < uintptr(len(environment))-3; n++ {
		e := word(stack + (argc+2+n)*unsafe.Sizeof(stack))
		environment[n] = e
		if e == 0 {
			break
		}
		chosen = chosen || begins(e, procsKey)
	}
	if environment[n] != 0 {
		return false
	}
	if !chosen {
		environment[n], environment[n+1], environment[n+2] = text(one), text(mark), 0
	}
	return true
}

// wanted reports whether an argument is one of the verbs. One too many costs an execution, one too few is sealed later.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func wanted(stack uintptr) bool {
	argc := word(stack)
	for i := uintptr(1); i < argc; i++ {
		arg := word(stack + (1+i)*unsafe.Sizeof(stack))
		for v := 0; v < len(verbs); v++ {
			if (v == 0 || verbs[v-1] == 0) && same(arg, v) {
				return true
			}
		}
	}
	return false
}

// same compares the C string at p with the verb that begins at v.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func same(p uintptr, v int) bool {
	for ; v < len(verbs); p, v = p+1, v+1 {
		c := *(*byte)(address(p))
		if c != verbs[v] {
			return false
		}
		if c == 0 {
			return true
		}
	}
	return false
}

// begins reports whether the C string at p begins with prefix.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func begins(p uintptr, prefix string) bool {
	for i := 0; i < len(prefix); i++ {
		if *(*byte)(address(p + uintptr(i))) != prefix[i] { // a shorter string ends in a zero, which no prefix has
			return false
		}
	}
	return true
}

//go:nosplit
//go:norace
//go:nocheckptr
func word(p uintptr) uintptr { return *(*uintptr)(address(p)) }

//go:nosplit
//go:norace
func text(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

// address makes a pointer of a number: the kernel's stack is no memory of Go's, so nothing there ever moves.
//
//go:nosplit
//go:norace
//go:nocheckptr
func address(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }
