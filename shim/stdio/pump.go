package stdio

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of a pump's buffer: room for the frame header of Docker's multiplexed stream in front of one read.
const (
	frameHeader = 8
	chunkSize   = 32 << 10
)

// buffers are shared by all pumps and clients of the shim. One is taken only when there is something to read, so an
// idle process holds none.
var buffers = sync.Pool{New: func() any { return new([frameHeader + chunkSize]byte) }}

type buffer = [frameHeader + chunkSize]byte

// pump copies one output stream of the process.
type pump struct {
	io     *IO
	file   *os.File
	stream byte // 1 stdout, 2 stderr
	lines  *splitter
	sink   *sink // nil: clients
}

func newPump(s *IO, file *os.File, stream byte, name string) *pump {
	p := &pump{io: s, file: file, stream: stream}
	if s.recorder != nil {
		p.lines = &splitter{recorder: s.recorder, stream: name}
	}
	return p
}

// run copies until the stream ends: end of file for a pipe, EIO for a terminal whose last user is gone (tty(4)).
func (p *pump) run() {
	defer p.end()
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		buf, n, err := readReady(raw)
		if n > 0 {
			p.forward(buf, n)
		}
		if buf != nil {
			buffers.Put(buf)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.drain(raw)
			return
		}
		if err != nil || n <= 0 {
			return
		}
	}
}

// endBy bounds how long run waits for more, after the process has ended.
func (p *pump) endBy(t time.Time) { _ = p.file.SetReadDeadline(t) }

// drain copies what is in the pipe now, and no more: somebody else holds it open and may write for ever.
func (p *pump) drain(raw syscall.RawConn) {
	left := 0
	if err := raw.Control(func(fd uintptr) {
		left, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	}); err != nil {
		return
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	for left > 0 {
		n := 0
		err := raw.Control(func(fd uintptr) {
			n, _ = unix.Read(int(fd), buf[frameHeader:frameHeader+min(left, chunkSize)])
		})
		if err != nil || n <= 0 {
			return
		}
		p.forward(buf, n)
		left -= n
	}
}

// readReady waits until something can be read and reads it into a buffer of the pool, which the caller puts back
// (nil when there was no need for one).
func readReady(raw syscall.RawConn) (buf *buffer, n int, err error) {
	var readErr error
	err = raw.Read(func(fd uintptr) bool {
		if buf == nil {
			buf = buffers.Get().(*buffer)
		}
		for {
			n, readErr = unix.Read(int(fd), buf[frameHeader:])
			if readErr != unix.EINTR {
				break
			}
		}
		if readErr == unix.EAGAIN {
			buffers.Put(buf)
			buf, n = nil, 0
			return false
		}
		return true
	})
	if err == nil {
		err = readErr
	}
	return buf, max(n, 0), err
}

// forward records a chunk and sends it to the clients. The log comes first: it must be whole whatever the clients do.
func (p *pump) forward(buf *buffer, n int) {
	if p.lines != nil {
		p.lines.feed(buf[frameHeader:frameHeader+n], time.Now())
	}
	if p.sink != nil {
		p.sink.write(buf[frameHeader : frameHeader+n])
		return
	}
	clients := p.io.audience(p.stream)
	if len(clients) == 0 {
		return
	}
	frame := buf[frameHeader : frameHeader+n]
	if !p.io.terminal {
		clear(buf[:frameHeader])
		buf[0] = p.stream
		binary.BigEndian.PutUint32(buf[4:frameHeader], uint32(n))
		frame = buf[:frameHeader+n]
	}
	for _, c := range clients {
		if err := c.send(frame); err != nil {
			p.io.drop(c)
		}
	}
}

// end records the last line when it has no newline, and lets a FIFO's reader see the end.
func (p *pump) end() {
	if p.lines != nil {
		p.lines.end()
	}
	if p.sink != nil {
		p.sink.close()
	}
}
