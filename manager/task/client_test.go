package task_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/manager/task"
)

// client is the far end of an attached stream.
type client struct {
	*os.File
	t *testing.T
}

func newStream(t *testing.T, header shim.Header) (*client, task.Stream) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	c := &client{os.NewFile(uintptr(fds[0]), "client"), t}
	t.Cleanup(func() { _ = c.Close() })
	return c, task.Stream{Header: header, Conn: os.NewFile(uintptr(fds[1]), "conn")}
}

var bothStreams = shim.Header{Stdout: true, Stderr: true}

// rest reads to the end and splits the frames.
func (c *client) rest() (stdout, stderr string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	data, err := io.ReadAll(c)
	if err != nil {
		c.t.Fatalf("client: %v after %d bytes", err, len(data))
	}
	var out [3]bytes.Buffer
	for len(data) >= 8 {
		n := int(binary.BigEndian.Uint32(data[4:8]))
		out[data[0]].Write(data[8 : 8+n])
		data = data[8+n:]
	}
	if len(data) > 0 {
		c.t.Fatalf("torn frame of %d bytes", len(data))
	}
	return out[1].String(), out[2].String()
}

// until reads raw output until text has come.
func (c *client) until(text string) string {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var got []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(got, []byte(text)) {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			c.t.Fatalf("waiting for %q: %v after %q", text, err, got)
		}
	}
	return string(got)
}

func (c *client) closeWrite() {
	raw, err := c.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
}
