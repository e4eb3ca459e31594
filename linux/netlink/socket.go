// Package netlink asks the kernel for links, addresses, routes and connection tracking over raw netlink sockets:
// several requests in one system call, and none of the extra round trips of a general library.
//
// Reference: man 7 netlink, man 7 rtnetlink, Documentation/userspace-api/netlink in the kernel tree.
package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer holds the largest part of a dump: the kernel never sends more than 32 KiB at once.
const receiveBuffer = 32 << 10

// answerBound limits how long one answer may take. The kernel handles requests inside the send call, so an
// answer that is not there at once never comes.
const answerBound = 10 * time.Second

// Socket is one netlink socket; it stays in the network namespace it was opened in. Its methods may be called
// concurrently: they take turns.
type Socket struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
}

// Error is the kernel's refusal of one request.
type Error struct {
	Index int        // which request of the batch, from 0
	Errno unix.Errno // the cause; errors.Is sees through to it
	Text  string     // the kernel's own words (extended ACK), often empty
}

func (e *Error) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("%s (%s)", e.Errno, e.Text)
	}
	return e.Errno.Error()
}

func (e *Error) Unwrap() error { return e.Errno }

// OpenRoute opens a NETLINK_ROUTE socket in the calling thread's network namespace.
func OpenRoute() (*Socket, error) { return open(unix.NETLINK_ROUTE) }

// OpenFilter opens a NETLINK_NETFILTER socket in the calling thread's network namespace.
func OpenFilter() (*Socket, error) { return open(unix.NETLINK_NETFILTER) }

func open(protocol int) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	// Extended ACKs carry the kernel's reason; capped ACKs do not send the request back.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	timeout := unix.NsecToTimeval(int64(answerBound))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return &Socket{fd: fd}, nil
}

// Close closes the socket.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return os.ErrClosed
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// do sends all messages in one system call and reads one acknowledgement for each. The kernel works through all
// of them even when one fails; the first refusal is returned as an *Error.
func (s *Socket) do(messages ...*message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seq + 1
	if err := s.send(unix.NLM_F_ACK, messages); err != nil {
		return err
	}
	var refused *Error
	for pending := len(messages); pending > 0; {
		err := s.receive(func(h header, payload []byte) {
			index := int(h.seq - first)
			if h.kind != unix.NLMSG_ERROR || index < 0 || index >= len(messages) {
				return
			}
			pending--
			if e := parseError(h, payload); e != nil && refused == nil {
				e.Index = index
				refused = e
			}
		})
		if err != nil {
			return err
		}
	}
	if refused != nil {
		return refused
	}
	return nil
}

// get sends one message that is answered by messages (a dump, or one object) and calls each for their payloads.
func (s *Socket) get(m *message, flags uint16, each func(kind uint16, payload []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.send(flags, []*message{m}); err != nil {
		return err
	}
	seq, done := s.seq, false
	var refused *Error
	for !done {
		err := s.receive(func(h header, payload []byte) {
			switch {
			case h.seq != seq:
			case h.kind == unix.NLMSG_ERROR:
				refused, done = parseError(h, payload), true
			case h.kind == unix.NLMSG_DONE:
				done = true
			default:
				each(h.kind, payload)
				done = flags&unix.NLM_F_DUMP == 0
			}
		})
		if err != nil {
			return err
		}
	}
	if refused != nil {
		return refused
	}
	return nil
}

func (s *Socket) send(flags uint16, messages []*message) error {
	if s.fd < 0 {
		return os.ErrClosed
	}
	out := s.buf[:0]
	for _, m := range messages {
		s.seq++
		out = append(out, m.finish(flags, s.seq)...)
	}
	s.buf = out
	if err := unix.Sendto(s.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink send: %w", err)
	}
	return nil
}

// receive reads one datagram and calls each for its messages.
func (s *Socket) receive(each func(header, []byte)) error {
	if cap(s.buf) < receiveBuffer {
		s.buf = make([]byte, receiveBuffer)
	}
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buf[:cap(s.buf)], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("netlink receive: %w", err)
		}
		// Only the kernel's words count (port id 0): any process may send to our socket.
		if a, ok := from.(*unix.SockaddrNetlink); !ok || a.Pid != 0 {
			continue
		}
		return split(s.buf[:n], each)
	}
}

// header is a message's nlmsghdr.
type header struct {
	kind, flags uint16
	seq         uint32
}

var errMalformed = errors.New("netlink: malformed message")

// split calls each for every message in b.
func split(b []byte, each func(header, []byte)) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		n := int(binary.NativeEndian.Uint32(b))
		if n < unix.NLMSG_HDRLEN || n > len(b) {
			return errMalformed
		}
		each(header{
			kind:  binary.NativeEndian.Uint16(b[4:]),
			flags: binary.NativeEndian.Uint16(b[6:]),
			seq:   binary.NativeEndian.Uint32(b[8:]),
		}, b[unix.NLMSG_HDRLEN:n])
		b = b[min(align(n), len(b)):]
	}
	return nil
}

// parseError reads an NLMSG_ERROR; nil means success (an acknowledgement).
func parseError(h header, b []byte) *Error {
	if len(b) < 4 {
		return &Error{Errno: unix.EBADMSG}
	}
	code := int32(binary.NativeEndian.Uint32(b))
	if code == 0 {
		return nil
	}
	e := &Error{Errno: unix.Errno(-code)}
	// The refused request's header follows (capped), then the extended ACK's attributes.
	if h.flags&unix.NLM_F_ACK_TLVS != 0 && len(b) >= 4+unix.NLMSG_HDRLEN {
		for kind, value := range attributes(b[4+unix.NLMSG_HDRLEN:]) {
			if kind == unix.NLMSGERR_ATTR_MSG {
				e.Text = text(value)
			}
		}
	}
	return e
}
