package child

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Go runtime's own preparations for a fork. The linker lets gVisor's use of them stand ("hall of shame" in
// runtime/proc.go), with these signatures.

//go:linkname runtimeBeforeFork syscall.runtime_BeforeFork
func runtimeBeforeFork()

//go:linkname runtimeAfterFork syscall.runtime_AfterFork
func runtimeAfterFork()

//go:linkname runtimeAfterForkInChild syscall.runtime_AfterForkInChild
func runtimeAfterForkInChild()

// cloneArgs is struct clone_args of linux/sched.h.
type cloneArgs struct {
	flags      uint64
	pidFD      uint64
	childTID   uint64
	parentTID  uint64
	exitSignal uint64
	stack      uint64
	stackSize  uint64
	tls        uint64
	setTID     uint64
	setTIDSize uint64
	cgroup     uint64
}

// Clone makes a process that walks along p, in the new namespaces flags (CLONE_NEW*) and, when cgroup >= 0, inside
// that cgroup v2 directory. It returns the pid and a pidfd (O_CLOEXEC). The process is the caller's child and
// announces its end by SIGCHLD.
func Clone(p *Program, flags int, cgroup int) (pid, pidfd int, err error) {
	p.prepare(flags, cgroup)
	// No descriptor without O_CLOEXEC may be in the making in another thread (syscall.ForkLock).
	syscall.ForkLock.Lock()
	r, errno := clone(p)
	if errno == unix.ENOSYS && p.older() {
		r, errno = clone(p)
	}
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, -1, fmt.Errorf("clone3: %w", errno)
	}
	return int(r), int(p.pidfd), nil
}

// prepare fills in the call.
func (p *Program) prepare(flags, cgroup int) {
	p.pidfd = -1
	p.args = cloneArgs{flags: uint64(flags) | unix.CLONE_PIDFD, exitSignal: uint64(unix.SIGCHLD)}
	p.args.pidFD = uint64(uintptr(unsafe.Pointer(&p.pidfd)))
	if p.announce {
		p.args.flags |= unix.CLONE_CHILD_SETTID
		p.args.childTID = uint64(uintptr(unsafe.Pointer(&p.tid)))
	}
	if cgroup >= 0 {
		p.args.flags |= unix.CLONE_INTO_CGROUP
		p.args.cgroup = uint64(cgroup)
	}
	p.call = [6]uintptr{unix.SYS_CLONE3, uintptr(unsafe.Pointer(&p.args)), unsafe.Sizeof(p.args)}
}

// older turns the call into one of clone(2), where that can express it. Docker's seccomp profile answers clone3(2)
// with ENOSYS, because a filter cannot look into its arguments; an init runs under it.
func (p *Program) older() bool {
	const signalMask = 0xff // what clone(2) takes the lowest bits of its flags for, CLONE_NEWTIME among them
	if p.args.flags>>32 != 0 || p.args.flags&signalMask != 0 {
		return false
	}
	child, tls := uintptr(p.args.childTID), uintptr(0)
	switch runtime.GOARCH {
	case "amd64":
	case "arm64":
		child, tls = tls, child
	default:
		return false
	}
	p.call = [6]uintptr{unix.SYS_CLONE, uintptr(p.args.flags | p.args.exitSignal), 0, uintptr(p.args.pidFD), child, tls}
	return true
}

// clone is the fork itself. As in package syscall, it holds one stack frame over both returns of the call.
//
//go:noinline
//go:norace
//go:nocheckptr
func clone(p *Program) (uintptr, syscall.Errno) {
	runtimeBeforeFork()
	r, _, errno := syscall.RawSyscall6(p.call[0], p.call[1], p.call[2], p.call[3], p.call[4], p.call[5], 0)
	if errno != 0 || r != 0 {
		runtimeAfterFork()
		return r, errno
	}
	runtimeAfterForkInChild()
	p.interpret()
	return 0, 0
}
