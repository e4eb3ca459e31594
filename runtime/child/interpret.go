package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/runtime/handshake"
)

// Exit codes of a process that never reached its program.
const (
	exitFailed = 127 // it told why
	exitAlone  = 126 // the host side was gone
)

// interpret walks along the program. It runs in the copied process and does not return. Nothing here or below may
// need more stack than nosplit functions have, write a Go pointer, or enter the Go runtime.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func (p *Program) interpret() {
	var slot [slots]uintptr
	report := uintptr(p.sync)
	remembered := syscall.ENOENT
	for i := 0; i < len(p.ops); i++ {
		o := &p.ops[i]
		if o.unless != 0 && slot[o.unless-1] == 1 {
			continue
		}
		switch o.do {
		case doSend:
			p.msg = handshake.Message{Kind: handshake.Kind(o.nr)}
			if o.arg[0] != 0 {
				p.msg.Value = uint32(slot[o.arg[0]-1])
			}
			rawWrite(report, &p.msg)
			continue
		case doRight:
			fds := (*[maxRights]int32)(unsafe.Pointer(&p.control.rights[unix.SizeofCmsghdr]))
			slot[o.out-1] = uintptr(fds[o.arg[0]])
			continue
		case doReportTo:
			report = slot[o.arg[0]]
			continue
		case doGiveUp:
			p.fail(report, o, i, remembered)
		}
		r, errno := call(o, &slot)
		if errno != 0 {
			if !tolerated(o, errno, &remembered) {
				p.fail(report, o, i, errno)
			}
			if o.flags&refusable != 0 {
				slot[o.out-1] = ^uintptr(0)
			}
			continue
		}
		if o.flags&peer != 0 && r == 0 {
			exit(exitAlone)
		}
		if o.flags&absolute != 0 && p.cwd[0] != '/' {
			p.fail(report, o, i, syscall.ENOENT)
		}
		if o.flags&fork != 0 && r != 0 {
			p.msg = handshake.Message{Kind: handshake.PID, Value: uint32(r)}
			rawWrite(report, &p.msg)
			exit(0)
		}
		if o.flags&mark != 0 {
			r = 1
		}
		if o.out != 0 {
			slot[o.out-1] = r
		}
	}
	exit(exitFailed)
}

// tolerated reports whether the road goes on after errno.
//
//go:nosplit
//go:norace
//go:noinline
func tolerated(o *op, errno syscall.Errno, remembered *syscall.Errno) bool {
	switch {
	case o.flags&ignore != 0:
		return true
	case o.flags&unknownOK != 0:
		return errno == syscall.EINVAL
	case o.flags&refusable != 0:
		return errno == syscall.EPERM
	case o.flags&mark != 0:
		return errno == syscall.EACCES || errno == syscall.EPERM
	case o.flags&candidate != 0:
		if errno == syscall.EACCES {
			*remembered = errno
		}
		return errno == syscall.EACCES || errno == syscall.ENOENT || errno == syscall.ENOTDIR
	}
	return false
}

// call makes the system call of o, again after EINTR where o says so.
//
//go:nosplit
//go:norace
//go:noinline
func call(o *op, slot *[slots]uintptr) (uintptr, syscall.Errno) {
	a := o.arg
	for i := range a {
		if o.use[i] != 0 {
			a[i] = slot[o.use[i]-1]
		}
	}
	for {
		r, _, errno := syscall.RawSyscall6(o.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == syscall.EINTR && o.flags&retry != 0 {
			continue
		}
		return r, errno
	}
}

//go:nosplit
//go:norace
//go:noinline
func (p *Program) fail(report uintptr, o *op, i int, errno syscall.Errno) {
	p.msg = handshake.Message{Kind: handshake.Failed, Step: o.step, Op: uint16(i), Errno: int32(errno)}
	rawWrite(report, &p.msg)
	exit(exitFailed)
}

//go:nosplit
//go:norace
//go:noinline
func rawWrite(fd uintptr, m *handshake.Message) {
	_, _, _ = syscall.RawSyscall6(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(m)), uintptr(handshake.Size), 0, 0, 0)
}

//go:nosplit
//go:norace
//go:noinline
func exit(code uintptr) {
	for {
		_, _, _ = syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}
