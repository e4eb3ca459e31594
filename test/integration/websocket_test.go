package integration

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// webSocket attaches to a container; origin may be "".
func webSocket(t *testing.T, e *rig.Engine, path, origin string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("unix", e.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", path)
	if origin != "" {
		_, _ = fmt.Fprintf(conn, "Origin: %s\r\n", origin)
	}
	_, _ = io.WriteString(conn, "\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, r, resp
}

// messages reads frames until all of the words have come, or the close: the two outputs have no order.
func messages(r io.Reader, until ...string) (text string) {
	for len(until) == 0 || slices.ContainsFunc(until, func(w string) bool { return !strings.Contains(text, w) }) {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			return text
		}
		n := int(head[1])
		if n == 126 {
			_, _ = io.ReadFull(r, head[2:])
			n = int(binary.BigEndian.Uint16(head[2:]))
		}
		body := make([]byte, n)
		_, _ = io.ReadFull(r, body)
		if head[0]&15 == 8 {
			return text
		}
		text += string(body)
	}
	return text
}

// Consoles in a browser attach by WebSocket, with a terminal and without.
func TestAttachByWebSocket(t *testing.T) {
	e, busybox := withBusybox(t)
	for name, flags := range map[string][]string{"plain": {"-i"}, "term": {"-i", "-t"}} {
		e.Docker(append(append([]string{"run", "-d", "--name", name}, flags...), busybox, "sh", "-c", "while read l; do echo out-$l; echo err-$l >&2; [ $l = end ] && exit; done")...).OK()
		conn, r, resp := webSocket(t, e, "/v1.44/containers/"+name+"/attach/ws?stream=1&stdin=1&stdout=1&stderr=1", "")
		if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 section 1.3
			t.Fatalf("%s: %v", name, resp)
		}
		_, _ = conn.Write([]byte{0x81, 0x84, 0, 0, 0, 0, 'o', 'n', 'e', '\n'})
		if got := messages(r, "err-one", "out-one"); !strings.Contains(got, "out-one") || strings.Contains(got, "\x00") {
			t.Errorf("%s: %q", name, got)
		}
		_, _ = conn.Write([]byte{0x81, 0x84, 0, 0, 0, 0, 'e', 'n', 'd', '\n'})
		if got := messages(r); !strings.Contains(got, "out-end") || !strings.Contains(got, "err-end") {
			t.Errorf("%s: %q", name, got)
		}
		e.Docker("wait", name).OK()
	}
	e.Docker("run", "-d", "--name", "other", busybox, "sleep", "1000").OK()
	for origin, want := range map[string]int{"http://evil.example": 403, "http://localhost": 101} {
		if _, _, resp := webSocket(t, e, "/containers/other/attach/ws?stream=1&stdout=1", origin); resp.StatusCode != want {
			t.Errorf("of a page of %s: %s", origin, resp.Status)
		}
	}
	if r := rig.Exec(t, nil, nil, "curl", "-s", "--unix-socket", e.Socket, "http://d/containers/other/attach/ws"); !strings.Contains(r.Out, "for WebSocket clients") {
		t.Errorf("without an upgrade: %s", r.Out)
	}
}
