package container

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/task"
)

// pendingStream is a client that attached before the start. Until the start its connection is watched, so that one
// that hangs up is dropped.
type pendingStream struct {
	conn   net.Conn
	header shim.Header
	once   sync.Once
	idle   chan struct{} // closed when the watch has ended
}

// hold keeps a client until the container starts.
func (c *Container) hold(conn net.Conn, h shim.Header) *pendingStream {
	p := &pendingStream{conn: conn, header: h, idle: make(chan struct{})}
	c.mu.Lock()
	c.pending = append(c.pending, p)
	c.mu.Unlock()
	go func() {
		hungUp := watchHangup(conn)
		close(p.idle)
		if hungUp {
			c.drop(p)
		}
	}()
	return p
}

// drop forgets a pending client that hung up.
func (c *Container) drop(p *pendingStream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.pending {
		if x == p {
			c.pending = append(c.pending[:i], c.pending[i+1:]...)
			p.close()
			return
		}
	}
}

func (p *pendingStream) close() { p.once.Do(func() { _ = p.conn.Close() }) }

// takeStreams takes the clients that wait; the caller hands them over or closes them.
func (c *Container) takeStreams() []*pendingStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pending
	c.pending = nil
	return p
}

func closeStreams(streams []*pendingStream) {
	for _, p := range streams {
		p.close()
	}
}

// watchHangup looks without taking anything until the client has hung up or has written something, or until the
// connection's read deadline; it waits in the runtime's poller and costs no thread. A client that has only shut its
// sending side (as docker does without -i) is still there: a closed one has POLLHUP or POLLERR (poll(2)).
func watchHangup(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	hungUp := false
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR || err == nil && n == 0 {
			return false
		}
		if err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			hungUp = true
			return true
		}
		// End of its input: go on waiting for the end of the rest. Bytes: they are the container's, the watch is over.
		var b [1]byte
		got, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err == nil && got > 0
	})
	return hungUp
}

// taskStreams turns waiting clients into what the task service takes, which owns all of them from then on.
func taskStreams(streams []*pendingStream) ([]task.Stream, error) {
	out := make([]task.Stream, 0, len(streams))
	for i, p := range streams {
		_ = p.conn.SetReadDeadline(time.Unix(1, 0)) // ends the watch
		<-p.idle
		_ = p.conn.SetReadDeadline(time.Time{})
		f, err := connFile(p.conn)
		if err != nil {
			closeStreams(streams[i:])
			closeTaskStreams(out)
			return nil, err
		}
		out = append(out, task.Stream{Header: p.header, Conn: f})
	}
	return out, nil
}

func closeTaskStreams(streams []task.Stream) {
	for _, t := range streams {
		_ = t.Conn.Close()
	}
}

// connFile gives the descriptor of a client's connection, so that the shim can serve the client itself; conn is
// closed. A connection that is more than a socket (TLS) is served through a pair of sockets.
func connFile(conn net.Conn) (*os.File, error) {
	if f, ok := conn.(interface{ File() (*os.File, error) }); ok {
		file, err := f.File()
		_ = conn.Close()
		if err != nil {
			return nil, fmt.Errorf("connection of the client: %w", err)
		}
		return file, nil
	}
	near, far, err := socketPair()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	go splice(conn, near)
	return far, nil
}

// socketPair returns a connected pair: our end, and the one to hand over.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far := os.NewFile(uintptr(fds[1]), "stream")
	near := os.NewFile(uintptr(fds[0]), "stream")
	conn, err := net.FileConn(near)
	_ = near.Close()
	if err != nil {
		_ = far.Close()
		return nil, nil, fmt.Errorf("stream: %w", err)
	}
	return conn, far, nil
}

// splice copies both ways with half-closes, until both are at their end.
func splice(client, shim net.Conn) {
	defer func() { _ = client.Close() }()
	defer func() { _ = shim.Close() }()
	go func() {
		_, _ = io.Copy(shim, client)
		closeWrite(shim)
	}()
	_, _ = io.Copy(client, shim)
	closeWrite(client)
}

func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
}

// detachKeys reads "ctrl-p,ctrl-q": letters, and ctrl- with one of a-z @ [ \ ] ^ _. Empty text is the default.
func detachKeys(text string) ([]byte, error) {
	if text == "" {
		return []byte{16, 17}, nil
	}
	var out []byte
	for i := 0; i < len(text); {
		j := i
		for j < len(text) && text[j] != ',' {
			j++
		}
		key := text[i:j]
		i = j + 1
		if len(key) == 1 {
			out = append(out, key[0])
			continue
		}
		if len(key) == 6 && key[:5] == "ctrl-" {
			switch c := key[5]; {
			case c >= 'a' && c <= 'z':
				out = append(out, c-'a'+1)
				continue
			case c == '@' || c >= '[' && c <= '_':
				out = append(out, c-'@')
				continue
			}
		}
		return nil, errdefs.InvalidArgument("Invalid detach keys (%s) provided: Unknown character: '%s'", text, key)
	}
	return out, nil
}

// dupFile copies a descriptor.
func dupFile(fd uintptr) (*os.File, error) {
	n, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(n), "stream"), nil
}

// endStream ends a connection for all who hold its descriptor, after what was written to it. Input that nobody has
// read would turn the end of file into a reset, so it is read away.
func endStream(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.Shutdown(int(fd), unix.SHUT_WR)
		var buf [4096]byte
		for {
			n, _, err := unix.Recvfrom(int(fd), buf[:], unix.MSG_DONTWAIT)
			if n <= 0 || err != nil {
				return
			}
		}
	})
}
