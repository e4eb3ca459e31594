package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// clientFrame is a frame as a client sends it.
func clientFrame(kind byte, data string) []byte {
	mask := [4]byte{1, 2, 3, 4}
	out := []byte{0x80 | kind, 0x80 | byte(len(data))}
	if len(data) > controlBytes {
		out = binary.BigEndian.AppendUint16([]byte{0x80 | kind, 0x80 | 126}, uint16(len(data)))
	}
	body := []byte(data)
	unmask(body, mask, 0)
	return append(append(out, mask[:]...), body...)
}

// frames reads what the server sends until it closes.
func frames(t *testing.T, r io.Reader) (out []string) {
	t.Helper()
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			return out
		}
		n := int(head[1])
		if n == 126 {
			long := make([]byte, 2)
			_, _ = io.ReadFull(r, long)
			n = int(binary.BigEndian.Uint16(long))
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			t.Error(err)
			return out
		}
		out = append(out, string('0'+rune(head[0]&15))+string(body))
	}
}

func pump(t *testing.T, framed bool) (client net.Conn, stream net.Conn, ended chan struct{}) {
	t.Helper()
	inner, outer, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	client, server, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	ws := &websocket{conn: server, in: bufio.NewReader(server), message: frameBinary, framed: framed}
	go func() { ws.run(outer); close(ended) }()
	for _, c := range []net.Conn{client, inner} {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = c.Close() })
	}
	return client, inner, ended
}

func TestWebSocket(t *testing.T) {
	client, stream, ended := pump(t, true)
	long := strings.Repeat("x", 40000)
	for _, f := range [][]byte{clientFrame(frameText, "hello "), clientFrame(framePing, "are you there"), clientFrame(0, long), clientFrame(frameClose, "")} {
		if _, err := client.Write(f); err != nil {
			t.Fatal(err)
		}
	}
	if in, err := io.ReadAll(stream); err != nil || string(in) != "hello "+long {
		t.Errorf("%d bytes came, %v", len(in), err)
	}
	_, _ = stream.Write([]byte("\x01\x00\x00\x00\x00\x00\x00\x03out\x02\x00\x00\x00\x00\x00\x00\x03err"))
	_ = stream.Close()
	if got := strings.Join(frames(t, client), ","); got != ":are you there,2out,2err,8\x03\xe8" {
		t.Errorf("frames %q", got)
	}
	<-ended
}

// A client that speaks something else, or goes away, ends the stream.
func TestWebSocketOfOthers(t *testing.T) {
	for name, sent := range map[string][]byte{
		"unmasked": {0x81, 1, 'x'}, "gone": nil, "long control": clientFrame(frameClose, strings.Repeat("x", 126)), "cut": clientFrame(frameText, "abc")[:7],
	} {
		client, stream, ended := pump(t, false)
		_, _ = client.Write(sent)
		_ = client.Close()
		if in, _ := io.ReadAll(stream); bytes.Contains(in, []byte("x")) {
			t.Errorf("%s: %q", name, in)
		}
		_ = stream.Close()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: the connection is still there", name)
		}
	}
}
