package stdio

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
)

// lastBuffer is the socket buffer that a client gets for the rest of the output when it does not read while the
// process's streams are closed: pipes (64 KiB each) and chunks in hand fit.
const lastBuffer = 1 << 20

// client is one attached connection.
type client struct {
	io     *IO
	file   *os.File
	raw    syscall.RawConn
	header shim.Header
	keys   *detachScanner

	sending sync.Mutex // frames are whole
	mu      sync.Mutex
	until   time.Time // not zero: the process has ended, sending may take until then
	stalled bool      // a write deadline is set
	once    sync.Once
}

// newClient takes over conn, a socket.
func newClient(s *IO, conn *os.File, h shim.Header) (*client, error) {
	c := &client{io: s, file: conn, header: h}
	var err error
	if c.raw, err = conn.SyscallConn(); err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if len(h.DetachKeys) > 0 {
		c.keys = &detachScanner{keys: h.DetachKeys}
	}
	return c, nil
}

func (c *client) wants(stream byte) bool {
	if c.io.terminal {
		return c.header.Stdout || c.header.Stderr
	}
	return stream == 1 && c.header.Stdout || stream == 2 && c.header.Stderr
}

// send writes one frame. An error means that the client is gone, or takes nothing.
func (c *client) send(frame []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	var sendErr error
	err := c.raw.Write(func(fd uintptr) bool {
		frame, sendErr = sendSome(int(fd), frame)
		if sendErr != unix.EAGAIN {
			return true
		}
		c.setStall()
		return false
	})
	if errors.Is(err, os.ErrDeadlineExceeded) && c.isEnding() {
		return c.sendLast(frame)
	}
	c.clearStall()
	return errors.Join(err, sendErr)
}

// sendSome sends until all of p is sent or an error comes; it returns the rest.
func sendSome(fd int, p []byte) ([]byte, error) {
	for len(p) > 0 {
		n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return p, err
		}
		p = p[n:]
	}
	return nil, nil
}

// sendLast puts the rest of the output into the socket's own buffer, made large enough: the client reads it when it
// gets to it, and the exit of the process is told now.
func (c *client) sendLast(frame []byte) error {
	var sendErr error
	err := c.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, lastBuffer); err != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, lastBuffer)
		}
		_, sendErr = sendSome(int(fd), frame)
	})
	return errors.Join(err, sendErr)
}

// setStall bounds the wait for room in the socket, anew after every progress.
func (c *client) setStall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.until
	if t.IsZero() {
		t = time.Now().Add(StallLimit)
	}
	_ = c.file.SetWriteDeadline(t)
	c.stalled = true
}

// clearStall removes the bound after a wait: the next one gets its own.
func (c *client) clearStall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stalled && c.until.IsZero() {
		_ = c.file.SetWriteDeadline(time.Time{})
	}
	c.stalled = false
}

// endBy says that the process has ended: a wait for room lasts until t at most.
func (c *client) endBy(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	_ = c.file.SetWriteDeadline(t)
}

func (c *client) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.until.IsZero()
}

// receive reads from the client until it is gone: its bytes go to stdin when it was attached with it.
func (c *client) receive() {
	if len(c.header.Buffered) > 0 && !c.input(c.header.Buffered) {
		return
	}
	c.header.Buffered = nil
	for {
		buf, n, err := readReady(c.raw)
		more := n <= 0 || c.input(buf[frameHeader:frameHeader+n])
		if buf != nil {
			buffers.Put(buf)
		}
		if !more {
			return
		}
		if err != nil {
			c.endInput()
			c.io.drop(c)
			return
		}
		if n == 0 {
			break
		}
	}
	c.endInput()
	if !c.header.Stdout && !c.header.Stderr {
		c.io.drop(c)
		return
	}
	c.awaitHangup()
}

// input gives bytes to the process; false: the detach keys were among them, or the process's stdin is broken, and
// the client has been dropped.
func (c *client) input(p []byte) bool {
	detached := false
	if c.keys != nil {
		p, detached = c.keys.scan(p)
	}
	if c.header.Stdin && len(p) > 0 {
		if err := c.io.writeStdin(p); err != nil {
			// The process closed its stdin (EPIPE) or ended: further input has no reader, output may still come.
			c.header.Stdin = false
		}
	}
	if detached {
		c.io.drop(c)
	}
	return !detached
}

// endInput closes the process's stdin when this client was the one to do so.
func (c *client) endInput() {
	if c.keys != nil && c.header.Stdin {
		if held := c.keys.rest(); len(held) > 0 {
			_ = c.io.writeStdin(held)
		}
	}
	if c.header.CloseStdin {
		c.io.CloseStdin()
	}
}

// awaitHangup waits until a client that sends no more is gone altogether: a closed one, as opposed to one that has
// only shut its sending side, has POLLHUP or POLLERR (unix: at once; TCP: with the next output or keep-alive).
func (c *client) awaitHangup() {
	err := c.raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR need not be asked for
		n, err := unix.Poll(fds, 0)
		return err != unix.EINTR && (err != nil || n > 0)
	})
	if err == nil {
		c.io.drop(c)
	}
}

// close ends the connection so that the client reads all that was sent, then end of file: input that it has sent
// and nobody has read would turn that into a reset, so it is read away first.
func (c *client) close() {
	c.once.Do(func() {
		_ = c.raw.Control(func(fd uintptr) {
			how := unix.SHUT_WR
			if domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_UNIX {
				how = unix.SHUT_RDWR // the client's further input is refused, not queued
			}
			if unix.Shutdown(int(fd), how) != nil {
				return
			}
			buf := buffers.Get().(*buffer)
			defer buffers.Put(buf)
			for {
				n, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT)
				if n <= 0 || err != nil {
					return
				}
			}
		})
		_ = c.file.Close()
	})
}

// leave closes this side's descriptor and nothing else.
func (c *client) leave() { c.once.Do(func() { _ = c.file.Close() }) }
