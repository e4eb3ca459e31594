package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/jsonstream"
)

// Stream is a hijacked connection: the bytes of a container's or an exec's terminal, or multiplexed frames
// (moby/api/pkg/stdcopy) when Multiplexed.
type Stream struct {
	conn        net.Conn
	br          *bufio.Reader
	Multiplexed bool
}

// Read reads what the process wrote.
func (s *Stream) Read(p []byte) (int, error) { return s.br.Read(p) }

// WriteTo lets io.Copy use what is buffered first and the connection then.
func (s *Stream) WriteTo(w io.Writer) (int64, error) { return s.br.WriteTo(w) }

// Write writes to the process's standard input.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// CloseWrite tells the end of the standard input; the other direction stays open.
func (s *Stream) CloseWrite() error {
	if h, ok := s.conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return nil
}

// Close ends both directions. The process goes on.
func (s *Stream) Close() error { return s.conn.Close() }

// hijack sends a request that the engine answers by giving the connection over.
func (c *Client) hijack(ctx context.Context, path string, q url.Values, in any) (*Stream, error) {
	r := request{method: http.MethodPost, path: path, query: q, header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"tcp"}, "Content-Type": {"text/plain"},
	}}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("POST %s: encode: %w", path, err)
		}
		r.body = b
		r.header["Content-Type"] = []string{"application/json"}
	}
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	b, ok := res.Body.(*body)
	if !ok || !b.stop() {
		_ = res.conn.Close()
		return nil, interrupted(ctx, errors.New("the connection was cut"))
	}
	// An engine that does not know Upgrade answers 200 and goes on raw; both leave the stream in the same reader.
	return &Stream{conn: res.conn.Conn, br: res.conn.br, Multiplexed: res.Header.Get("Content-Type") == types.MediaTypeMultiplexedStream}, nil
}

// Messages is the JSON progress stream of pull, push, load and import.
type Messages struct {
	body io.ReadCloser
	dec  *json.Decoder
	ctx  context.Context
}

// Next returns the next message; io.EOF at the end. A message with an Error is returned as it is: the stream's
// status was already 200 when it happened.
func (m *Messages) Next() (jsonstream.Message, error) {
	var msg jsonstream.Message
	if err := m.dec.Decode(&msg); err != nil {
		if errors.Is(err, io.EOF) {
			return msg, io.EOF
		}
		return msg, interrupted(m.ctx, err)
	}
	return msg, nil
}

// Close ends the stream; the engine cancels what is still going on.
func (m *Messages) Close() error { return m.body.Close() }

func (c *Client) messages(ctx context.Context, r request) (*Messages, error) {
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Messages{body: res.Body, dec: json.NewDecoder(res.Body), ctx: ctx}, nil
}
