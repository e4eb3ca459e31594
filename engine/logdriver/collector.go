package logdriver

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/docker"
)

// sendBound is how long a collector may take to be reached and to take one line.
const sendBound = 10 * time.Second

// sender gives single lines to a collector. After an error the next send connects anew.
type sender interface {
	send(ctx context.Context, l docker.LogLine) error
	close()
}

// collector is the connection that senders share: made when it is needed, dropped after an error.
type collector struct {
	network, address string
	tls              *tls.Config
	bound            time.Duration
	conn             net.Conn
}

// write sends one message, and reads what answer wants when it is not nil.
func (c *collector) write(ctx context.Context, message []byte, answer func(net.Conn) error) (err error) {
	bound := c.bound
	if bound <= 0 {
		bound = sendBound
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if c.conn != nil && c.left() {
		c.close()
	}
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return err
		}
	}
	conn := c.conn
	unhook := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !unhook() || err != nil {
			c.close()
		}
	}()
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if answer != nil {
		return answer(conn)
	}
	return nil
}

// left tells whether the collector has ended the connection: a write would be taken by the kernel, and lost.
func (c *collector) left() bool {
	conn, ok := c.conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	})
	if !ok || c.network != "tcp" && c.network != "unix" {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	ended := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = n == 0 && err == nil || err != nil && err != unix.EAGAIN && err != unix.EINTR
	})
	return ended || err != nil
}

func (c *collector) dial(ctx context.Context) (err error) {
	if c.tls != nil {
		c.conn, err = (&tls.Dialer{Config: c.tls}).DialContext(ctx, c.network, c.address)
		return err
	}
	c.conn, err = (&net.Dialer{}).DialContext(ctx, c.network, c.address)
	if c.network == "unix" && errors.Is(err, unix.EPROTOTYPE) { // it takes datagrams, as most machines' /dev/log does
		c.network = "unixgram"
		c.conn, err = (&net.Dialer{}).DialContext(ctx, c.network, c.address)
	}
	return err
}

func (c *collector) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
