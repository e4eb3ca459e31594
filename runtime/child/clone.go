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
	p.pidfd = -1
	p.args = cloneArgs{flags: uint64(flags) | unix.CLONE_PIDFD, exitSignal: uint64(unix.SIGCHLD)}
	p.args.pidFD = uint64(uintptr(unsafe.Pointer(&p.pidfd)))
	if cgroup >= 0 {
		p.args.flags |= unix.CLONE_INTO_CGROUP
		p.args.cgroup = uint64(cgroup)
	}
	// No descriptor without O_CLOEXEC may be in the making in another thread (syscall.ForkLock).
	syscall.ForkLock.Lock()
	r, errno := clone(p)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, -1, fmt.Errorf("clone3: %w", errno)
	}
	return int(r), int(p.pidfd), nil
}

// clone is the fork itself. As in package syscall, it holds one stack frame over both returns of the call.
//
//go:noinline
//go:norace
//go:nocheckptr
func clone(p *Program) (uintptr, syscall.Errno) {
	runtimeBeforeFork()
	r, _, errno := syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&p.args)), unsafe.Sizeof(p.args), 0, 0, 0, 0)
	if errno != 0 || r != 0 {
		runtimeAfterFork()
		return r, errno
	}
	runtimeAfterForkInChild()
	p.interpret()
	return 0, 0
}
