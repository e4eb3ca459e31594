// Package child is the INSIDE of the runtime: what a process does between its clone and its execve.
//
// That process is a copy of a Go program of which one thread is left: it may not allocate, grow its stack, take a
// lock, or call almost anything of the Go runtime. So the host side computes the whole road beforehand, as a flat
// Program of system calls with all their memory, and inside a loop of raw system calls (interpret) walks along it.
// Build (steps.go) is the road as the specification tells it.
package child

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/runtime/handshake"
)

// action is what an operation does.
type action uint8

const (
	doCall     action = iota // a system call
	doSend                   // send a message of kind nr, its value from slot arg[0]-1
	doRight                  // slot out = descriptor arg[0] of those that came with the last Go
	doReportTo               // failures go to the descriptor in slot arg[0] from now on
	doGiveUp                 // fail with the errno that the candidates left
)

// Flags of an operation.
const (
	ignore    = 1 << iota // an error does not matter
	retry                 // again after EINTR
	peer                  // a result of 0 means that the host side is gone: exit
	candidate             // ENOENT, ENOTDIR and EACCES: remember, go on
	absolute              // the buffer must begin with '/' afterwards: getcwd(2) says "(unreachable)" outside of the root
	fork                  // a clone: the one in which it returns non-zero tells the pid and exits
	mark                  // on success slot out = 1; EACCES and EPERM go on
	unknownOK             // EINVAL does not matter: this kernel does not know the number
	refusable             // EPERM does not matter: slot out = no descriptor
)

const slots = 16

// op is one operation. use[i] = n+1 takes argument i from slot n; out and unless count from 1 too.
type op struct {
	do     action
	use    [6]uint8
	out    uint8
	unless uint8 // skip when this slot is 1
	step   handshake.Step
	flags  uint16
	nr     uintptr
	arg    [6]uintptr
}

// Program is a computed road. It is used once, by Clone.
type Program struct {
	ops     []op
	details []string // per op: what the step is about
	refs    []any    // memory that arguments point to
	sync    int
	msg     handshake.Message // what is being sent
	control struct {          // where the descriptors of a Go arrive
		header *unix.Msghdr // of the last receive: each has its own, as the kernel writes lengths into it
		iov    [2]unix.Iovec
		first  [8]byte
		home   [len(homePrefix) + handshake.MaxHome]byte
		rights [unix.SizeofCmsghdr + 4*maxRights]byte
	}
	cwd      [unix.PathMax]byte
	args     cloneArgs
	call     [6]uintptr // number and arguments of the clone
	pidfd    int32
	announce bool  // the kernel puts the process's number into its tid
	tid      int32 // in the process's own pid namespace
}

const (
	homePrefix = "HOME="
	maxRights  = 4
)

// Detail says what operation n is about, or "".
func (p *Program) Detail(n uint16) string {
	if int(n) < len(p.details) {
		return p.details[n]
	}
	return ""
}

func newProgram(sync int) *Program {
	p := &Program{sync: sync}
	p.refs = append(p.refs, p) // arguments point into it: it has to be on the heap, which does not move
	c := &p.control
	copy(c.home[:], homePrefix+"/")
	c.iov[0] = unix.Iovec{Base: &c.first[0]}
	c.iov[0].SetLen(1)
	c.iov[1] = unix.Iovec{Base: &c.home[len(homePrefix)]}
	c.iov[1].SetLen(handshake.MaxHome - 1)
	return p
}

// add appends an operation and returns it for its flags; the pointer is good until the next add.
func (p *Program) add(step handshake.Step, detail string, nr uintptr, args ...uintptr) *op {
	o := op{step: step, nr: nr}
	copy(o.arg[:], args)
	p.ops = append(p.ops, o)
	p.details = append(p.details, detail)
	return &p.ops[len(p.ops)-1]
}

// from makes argument i come from slot n.
func (o *op) from(i, n int) *op {
	o.use[i] = uint8(n + 1)
	return o
}

// to stores the result in slot n.
func (o *op) to(n int) *op {
	o.out = uint8(n + 1)
	return o
}

func (o *op) with(flags uint16) *op {
	o.flags |= flags
	return o
}

func (p *Program) special(step handshake.Step, do action, nr uintptr, arg uintptr) *op {
	o := p.add(step, "", nr, arg)
	o.do = do
	return o
}

// send tells the host side kind; slot >= 0 is its value.
func (p *Program) send(kind handshake.Kind, slot int) {
	p.special(handshake.StepHandshake, doSend, uintptr(kind), uintptr(slot+1))
}

// receive waits for a Go.
func (p *Program) receive() {
	h := &unix.Msghdr{Iov: &p.control.iov[0]}
	h.SetIovlen(len(p.control.iov))
	p.control.header = h
	p.refs = append(p.refs, h)
	p.add(handshake.StepHandshake, "", unix.SYS_RECVMSG, uintptr(p.sync), uintptr(unsafe.Pointer(h)), unix.MSG_CMSG_CLOEXEC).
		with(retry | peer)
}

// right puts descriptor n of the last Go into a slot.
func (p *Program) right(n, slot int) {
	c := &p.control
	c.header.Control = &c.rights[0]
	c.header.SetControllen(len(c.rights))
	p.special(handshake.StepHandshake, doRight, 0, uintptr(n)).to(slot)
}

// bytes returns the address of b.
func (p *Program) bytes(b []byte) uintptr {
	p.refs = append(p.refs, b)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// signals returns the address of a signal set.
func (p *Program) signals(set uint64) uintptr {
	return p.bytes(binary.NativeEndian.AppendUint64(nil, set))
}

// text returns the address of s with a zero at its end. s has no zero byte inside: the callers check.
func (p *Program) text(s string) uintptr { return p.bytes(append([]byte(s), 0)) }

// vector returns the address of a NULL-terminated array of strings; extra are addresses to put at its end.
func (p *Program) vector(list []string, extra ...*byte) (uintptr, error) {
	ptrs, err := syscall.SlicePtrFromStrings(list)
	if err != nil {
		return 0, err
	}
	ptrs = append(append(ptrs[:len(list)], extra...), nil)
	p.refs = append(p.refs, ptrs)
	return uintptr(unsafe.Pointer(unsafe.SliceData(ptrs))), nil
}

// String lists the operations, one a line, as tests compare them: step, detail, call and plain arguments.
func (p *Program) String() string {
	var b strings.Builder
	for i := range p.ops {
		o := &p.ops[i]
		fmt.Fprintf(&b, "%-28s %s", o.step, callName(o))
		if p.details[i] != "" {
			fmt.Fprintf(&b, " %s", p.details[i])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
