// Package handshake is all that the host side of the runtime and the process inside say to each other while a
// container is made, and when it starts.
//
//	host (runtime/container)                     inside (runtime/child)
//	        │  clone3 ────────────────────────────────▶ │
//	        │  [user namespace: uid_map, gid_map] Go ─▶ │ becomes root of its user namespace
//	        │                                           │ joins the cgroups, enters namespaces
//	        │ ◀──────────────── [PID, of a second clone] │
//	        │ ◀─────────────────────────────────── Ready │ waits
//	        │  builds the root in its mount namespace    │
//	        │  Go: $HOME, [terminal], [proc] ─────────▶ │ session, terminal, limits, ids, capabilities
//	        │ ◀────────────── [Listener, a descriptor's number]
//	        │  [Go] ──────────────────────────────────▶ │
//	        │ ◀───────────────────────────────── Created │ waits: opens exec.fifo for writing
//	        ┆                                           ┆
//	        │  start: opens exec.fifo for reading        │
//	        │                                           │ seccomp, last capabilities, execve
//	        │ ◀── end of file: the program runs          │
//	        │ ◀── Failed {step, errno}                   │ exits
//
// The socket is a SOCK_SEQPACKET pair, so that a message is a message and the death of either side is an end of file.
// Failed may come instead of any message. A process in a running container has no Ready and no start: after its
// first Go comes the end of file or Failed.
package handshake

import (
	"encoding/binary"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Kind of a message from the process inside.
type Kind uint32

// The kinds.
const (
	Ready    Kind = 1 + iota // in its cgroups and namespaces; waits for its root
	Created                  // all done but what start does
	PID                      // Value is the pid of the process that goes on; the sender exits
	Listener                 // Value is the number of its seccomp listener descriptor
	Failed                   // Step did not work: Errno
)

// Message is what the process inside writes, in the machine's byte order; its fields are its layout.
type Message struct {
	Kind  Kind
	Step  Step
	Op    uint16 // index of the operation in the program, for the creator's details
	Errno int32
	Value uint32
}

// Size of a Message in bytes.
const Size = int(unsafe.Sizeof(Message{}))

// Parse reads a message's bytes.
func Parse(b []byte) (Message, error) {
	if len(b) != Size {
		return Message{}, errdefs.InvalidArgument("handshake: message of %d bytes", len(b))
	}
	e := binary.NativeEndian
	m := Message{Kind: Kind(e.Uint32(b)), Step: Step(e.Uint16(b[4:])), Op: e.Uint16(b[6:]),
		Errno: int32(e.Uint32(b[8:])), Value: e.Uint32(b[12:])}
	if m.Kind < Ready || m.Kind > Failed {
		return Message{}, errdefs.InvalidArgument("handshake: message of kind %d", m.Kind)
	}
	return m, nil
}

// Err is the failure that a Failed message tells; its chain has the errno.
func (m Message) Err() *Error { return &Error{Step: m.Step, Op: m.Op, Errno: unix.Errno(m.Errno)} }

// Error is a step inside that did not work.
type Error struct {
	Step   Step
	Op     uint16
	Errno  unix.Errno
	Detail string // what the step was about: a path, a limit; "" when only the creator knows
}

// Error is the step, what it was about, and the errno's text.
func (e *Error) Error() string {
	if e.Detail != "" {
		return fmt.Sprintf("%s %s: %s", e.Step, e.Detail, e.Errno.Error())
	}
	return fmt.Sprintf("%s: %s", e.Step, e.Errno.Error())
}

// Unwrap returns the errno.
func (e *Error) Unwrap() error { return e.Errno }

// Pair makes the socket: the host's end and the end of the process inside.
func Pair() (host, inside int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("handshake: socketpair: %w", err)
	}
	return fds[0], fds[1], nil
}

// Read waits for the next message on the host's end. io.EOF says that the process inside closed it: it exited, or
// executed its program.
func Read(fd int) (Message, error) {
	buf := make([]byte, Size+1)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET || (err == nil && n == 0):
			return Message{}, io.EOF
		case err != nil:
			return Message{}, fmt.Errorf("handshake: %w", err)
		}
		return Parse(buf[:n])
	}
}

// MaxHome is how many bytes of $HOME a Go carries.
const MaxHome = 4096

// Go tells the process inside to go on. home is the value of its HOME where it has none; rights are descriptors that
// it needs and that were not there yet when it was cloned.
func Go(fd int, home string, rights ...int) error {
	if len(home) >= MaxHome {
		return errdefs.InvalidArgument("HOME is longer than %d bytes", MaxHome-1)
	}
	msg := append([]byte{1}, home...)
	if home != "" {
		msg = append(msg, 0)
	}
	var oob []byte
	if len(rights) > 0 {
		oob = unix.UnixRights(rights...)
	}
	if err := unix.Sendmsg(fd, msg, oob, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}
