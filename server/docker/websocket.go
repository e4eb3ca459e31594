package docker

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// Frames of RFC 6455 section 5.2.
const (
	frameText   = 1
	frameBinary = 2
	frameClose  = 8
	framePing   = 9
	framePong   = 10

	websocketID  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // section 1.3
	controlBytes = 125                                    // of a control frame, section 5.5
	pieceBytes   = 32 << 10
)

// containerAttachWS attaches through a WebSocket: what the client sends is the input, output and errors come unframed
// as messages. Since 1.42 the parameters say which of the three; before it is all of them.
func (s *Server) containerAttachWS(ctx context.Context, w *reply, c *call) error {
	o := docker.AttachOptions{Stdin: true, Stdout: true, Stderr: true, Stream: c.flag("stream"), Logs: c.flag("logs"), DetachKeys: c.str("detachKeys")}
	if !c.before(42) {
		o.Stdin, o.Stdout, o.Stderr = c.flag("stdin"), c.flag("stdout"), c.flag("stderr")
	}
	key := c.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(c.Header.Get("Upgrade"), "websocket") || key == "" || c.Header.Get("Sec-WebSocket-Version") != "13" {
		return errdefs.InvalidArgument("attach/ws is for WebSocket clients of version 13: use attach")
	}
	if origin := c.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, c.Host) { // a page of anybody: browsers let each connect
			return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("attach/ws: a page of %s may not attach to containers of %s", origin, c.Host))
		}
	}
	return s.Streams.ContainerAttach(ctx, c.id(), o, c.websocket(w, key))
}

// websocket is hijacker for a WebSocket: the engine gets one end of a socket pair.
func (c *call) websocket(w *reply, key string) func(tty bool) (net.Conn, []byte, error) {
	return func(tty bool) (net.Conn, []byte, error) {
		conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
		if err != nil {
			return nil, nil, errdefs.InvalidArgument("this connection cannot become a raw stream: %w", err)
		}
		w.hijacked = true
		sum := sha1.Sum([]byte(key + websocketID))
		head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
		if _, err := io.WriteString(conn, head); err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("answer of the upgrade: %w", err)
		}
		inner, outer, err := socketPair()
		if err != nil {
			_ = conn.Close()
			return nil, nil, err
		}
		ws := &websocket{conn: conn, in: rw.Reader, message: frameBinary, framed: !tty}
		if c.before(28) {
			ws.message = frameText
		}
		go ws.run(outer)
		return inner, nil, nil
	}
}

// websocket is the server's side of one.
type websocket struct {
	conn    net.Conn
	in      *bufio.Reader
	message byte // kind of the messages that are sent
	framed  bool // the stream's output is multiplexed, and the frames are taken off

	mu sync.Mutex // held while a frame is written
}

// run carries both directions between the client and the stream, until the stream ends or the client leaves.
func (ws *websocket) run(stream net.Conn) {
	var output sync.WaitGroup
	output.Add(1)
	go func() {
		defer output.Done()
		ws.send(stream)
		_ = ws.write(frameClose, []byte{0x03, 0xe8}) // 1000: all is said
		_ = ws.conn.Close()
	}()
	if err := ws.receive(stream); err != nil && !errors.Is(err, io.EOF) {
		_ = stream.Close() // the client is gone or speaks another language
	} else if half, ok := stream.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	output.Wait()
	_ = stream.Close()
}

// receive writes what the client sends to the stream. A close frame gives io.EOF.
func (ws *websocket) receive(stream io.Writer) error {
	buf := make([]byte, pieceBytes)
	for {
		kind, length, mask, err := ws.header()
		if err != nil {
			return err
		}
		if kind >= frameClose {
			if length > controlBytes {
				return fmt.Errorf("control frame of %d bytes", length)
			}
			if _, err := io.ReadFull(ws.in, buf[:length]); err != nil {
				return err
			}
			unmask(buf[:length], mask, 0)
			if kind == frameClose {
				return io.EOF
			}
			if kind == framePing {
				err = ws.write(framePong, buf[:length])
			}
			if err != nil {
				return err
			}
			continue
		}
		for done := uint64(0); done < length; {
			n, err := ws.in.Read(buf[:min(length-done, pieceBytes)])
			if err != nil {
				return err
			}
			unmask(buf[:n], mask, done)
			done += uint64(n)
			if _, err := stream.Write(buf[:n]); err != nil {
				return err
			}
		}
	}
}

// header reads the head of a frame. A client's frames are masked, section 5.1.
func (ws *websocket) header() (kind byte, length uint64, mask [4]byte, err error) {
	var b [8]byte
	if _, err = io.ReadFull(ws.in, b[:2]); err != nil {
		return 0, 0, mask, err
	}
	if b[0]&0x70 != 0 || b[1]&0x80 == 0 {
		return 0, 0, mask, errors.New("not a frame of a client")
	}
	kind, length = b[0]&15, uint64(b[1]&127)
	switch length {
	case 126:
		_, err = io.ReadFull(ws.in, b[:2])
		length = uint64(binary.BigEndian.Uint16(b[:2]))
	case 127:
		_, err = io.ReadFull(ws.in, b[:8])
		length = binary.BigEndian.Uint64(b[:8])
	}
	if err == nil {
		_, err = io.ReadFull(ws.in, mask[:])
	}
	return kind, length, mask, err
}

func unmask(b []byte, mask [4]byte, at uint64) {
	for i := range b {
		b[i] ^= mask[(at+uint64(i))%4]
	}
}

// send writes the stream's output to the client as messages.
func (ws *websocket) send(stream io.Reader) {
	buf, from := make([]byte, pieceBytes), io.Reader(stream)
	for {
		if ws.framed {
			if _, err := io.ReadFull(stream, buf[:8]); err != nil {
				return
			}
			from = io.LimitReader(stream, int64(binary.BigEndian.Uint32(buf[4:8])))
		}
		for {
			n, err := from.Read(buf)
			if n > 0 && ws.write(ws.message, buf[:n]) != nil {
				return
			}
			if err != nil && !ws.framed {
				return
			}
			if err != nil {
				break // the frame's end, or the stream's, which the next head tells
			}
		}
	}
}

// write sends one frame.
func (ws *websocket) write(kind byte, data []byte) error {
	head := []byte{0x80 | kind, byte(len(data))}
	if len(data) > controlBytes { // never more than 64 KiB
		head = binary.BigEndian.AppendUint16([]byte{0x80 | kind, 126}, uint16(len(data)))
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	_, err := ws.conn.Write(append(head, data...))
	return err
}
