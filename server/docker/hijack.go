package docker

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// hijacker returns the function that turns this request into a raw connection, which an engine calls once it knows
// that the stream exists: until then an error still becomes a status.
//
//	client                                   conexd
//	POST /containers/x/attach  ────────────>
//	Upgrade: tcp, Connection: Upgrade        hijack(tty)
//	<──────────── HTTP/1.1 101 UPGRADED, Content-Type of the stream
//	<──────────── raw bytes both ways, the descriptor now with the shim ────────────>
//
// Clients that send no Upgrade header (docker-py, curl) get 200 and the bytes behind it. The connection returned
// always has a descriptor of its own (syscall.Conn), so that it can be handed to another process.
func (c *call) hijacker(w *reply) func(tty bool) (net.Conn, []byte, error) {
	return func(tty bool) (net.Conn, []byte, error) {
		conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
		if err != nil {
			return nil, nil, errdefs.InvalidArgument("this connection cannot become a raw stream: %w", err)
		}
		w.hijacked = true
		var early []byte
		if n := rw.Reader.Buffered(); n > 0 {
			early, _ = rw.Reader.Peek(n)
			early = append([]byte(nil), early...)
		}
		if _, err := io.WriteString(conn, c.upgradeHead(w, tty)); err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("answer of the upgrade: %w", err)
		}
		if ua := c.Header.Get("User-Agent"); strings.Contains(ua, "docker-sdk-python/") || strings.Contains(ua, "docker-py/") {
			awaitRead(conn)
		}
		plain, err := withDescriptor(conn)
		if err != nil {
			_ = conn.Close()
			return nil, nil, err
		}
		return plain, early, nil
	}
}

// awaitRead waits until the client at the other end of a unix socket has read all that was written, at most headBound.
//
// docker-py reads the head of the answer through a buffer and the stream from the socket below it: what it receives
// together with the head is lost to it. Other engines are slow enough for that to be rare.
func awaitRead(conn net.Conn) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return
	}
	for deadline := time.Now().Add(headBound); time.Now().Before(deadline); time.Sleep(headPause) {
		unread := 0
		err := raw.Control(func(fd uintptr) { unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err != nil || unread == 0 {
			return
		}
	}
}

// How long, and how often, awaitRead looks.
const (
	headBound = time.Second
	headPause = 50 * time.Microsecond
)

func (c *call) upgradeHead(w *reply, tty bool) string {
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + streamType(c, tty) + "\r\n"
	if c.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + streamType(c, tty) + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
	}
	for _, k := range [...]string{"Api-Version", "Docker-Experimental", "Ostype", "Server"} {
		head += k + ": " + w.Header().Get(k) + "\r\n"
	}
	return head + "\r\n"
}

// withDescriptor returns conn itself when it is a socket, and for a TLS connection one end of a socket pair whose
// other end is pumped through it: a TLS session lives in this process and cannot be handed over.
func withDescriptor(conn net.Conn) (net.Conn, error) {
	if _, ok := conn.(syscall.Conn); ok {
		return conn, nil
	}
	inner, outer, err := socketPair()
	if err != nil {
		return nil, err
	}
	go splice(conn, outer)
	return inner, nil
}

// socketPair makes two ends of a stream that have descriptors.
func socketPair() (inner, outer net.Conn, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair for a stream: %w", err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "stream")
		ends[i], err = net.FileConn(f)
		_ = f.Close()
		if err != nil {
			if i == 1 {
				_ = ends[0].Close()
			} else {
				_ = syscall.Close(fds[1])
			}
			return nil, nil, fmt.Errorf("socket pair for a stream: %w", err)
		}
	}
	return ends[0], ends[1], nil
}

// splice copies both ways, passing the end of one direction on (stdin's end must not end the output), and closes
// both connections after both ended.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	one := func(dst, src net.Conn) {
		defer wg.Done()
		_, _ = io.Copy(dst, src)
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		} else {
			_ = dst.Close()
		}
	}
	wg.Add(2)
	go one(a, b)
	one(b, a)
	wg.Wait()
	_, _ = a.Close(), b.Close()
}
