package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// request is one call of the engine. path has no version; body is nil, a []byte (sent with its length, and sent
// again when the connection turns out to be dead) or an io.Reader (sent in chunks, once).
type request struct {
	method string
	path   string
	query  url.Values
	header http.Header
	body   any
	bare   bool   // path without the version prefix
	most   string // the newest API version whose answer is wanted; "" the client's
}

// conn is a connection with the buffer of its reader, which a response leaves bytes in.
type conn struct {
	net.Conn
	br *bufio.Reader
}

// response is an answered request: status is below 400, and body is open until Close.
type response struct {
	*http.Response
	conn *conn
}

// do sends r and returns the answer with an open body. An error status becomes *Error. When the engine says that our
// API version is too new for it, the version is negotiated once and r sent again.
func (c *Client) do(ctx context.Context, r request) (*response, error) {
	res, err := c.roundTrip(ctx, r)
	if err == nil {
		err = check(res)
	}
	if _, streamed := r.body.(io.Reader); err != nil && !streamed && versionRefused(err) && c.opts.Version == "" {
		if nerr := c.negotiate(ctx); nerr != nil {
			return nil, nerr
		}
		if res, err = c.roundTrip(ctx, r); err == nil {
			err = check(res)
		}
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// roundTrip sends r on a fresh or idle connection and reads the head of the answer.
func (c *Client) roundTrip(ctx context.Context, r request) (*response, error) {
	k, err := c.take(ctx)
	if err != nil {
		return nil, err
	}
	req, err := c.build(r)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = k.SetDeadline(time.Unix(1, 0)) })
	res, err := k.exchange(req, r.body)
	if err != nil {
		stop()
		_ = k.Close()
		return nil, interrupted(ctx, fmt.Errorf("%s %s: %w", r.method, r.path, err))
	}
	res.Body = &body{ReadCloser: res.Body, client: c, conn: k, stop: stop, reusable: reusable(req, res)}
	return &response{Response: res, conn: k}, nil
}

// build makes the HTTP request; a value that is neither bytes nor a reader is a mistake of this package.
func (c *Client) build(r request) (*http.Request, error) {
	path := r.path
	if !r.bare {
		path = "/v" + lowest(c.Version(), r.most) + path
	}
	host := "api.conex.localhost" // a socket has no name
	if c.endpoint.Network == "tcp" {
		host = c.endpoint.Address
	}
	u := &url.URL{Scheme: "http", Host: host, Path: path, RawQuery: r.query.Encode()}
	req := &http.Request{Method: r.method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: r.header}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if c.opts.UserAgent != "" {
		req.Header["User-Agent"] = []string{c.opts.UserAgent}
	}
	switch b := r.body.(type) {
	case nil:
	case []byte:
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		if req.Header["Content-Type"] == nil {
			req.Header["Content-Type"] = []string{"application/json"}
		}
	case io.Reader:
		req.Body, req.ContentLength = io.NopCloser(b), -1
	default:
		return nil, fmt.Errorf("%s %s: body of type %T", r.method, r.path, r.body)
	}
	return req, nil
}

// exchange writes req and reads the head of the answer. A streamed body is written beside the reading, because an
// engine that refuses it answers before it has read all.
func (k *conn) exchange(req *http.Request, b any) (*http.Response, error) {
	if _, streamed := b.(io.Reader); streamed {
		return k.stream(req)
	}
	w := bufio.NewWriterSize(k, 4<<10)
	err := req.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) { // an engine that hung up may have said why
		return nil, err
	}
	return http.ReadResponse(k.br, req)
}

// stream writes a body of unknown length while it waits for the answer. When the source fails, the engine would wait
// for the rest for ever: the source's error ends the request.
func (k *conn) stream(req *http.Request) (*http.Response, error) {
	src := &source{ReadCloser: req.Body}
	req.Body = src
	go func() {
		w := bufio.NewWriterSize(k, 64<<10)
		_ = req.Write(w) // a broken pipe is told by the answer
		_ = w.Flush()
		if src.failed.Load() != nil {
			_ = k.SetReadDeadline(time.Unix(1, 0))
		}
	}()
	res, err := http.ReadResponse(k.br, req)
	if cause := src.failed.Load(); err != nil && cause != nil {
		return nil, *cause
	}
	return res, err
}

// source remembers why it ended before its end.
type source struct {
	io.ReadCloser
	failed atomic.Pointer[error]
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed.Store(&err)
	}
	return n, err
}

// take returns an idle connection that is still open, or dials.
func (c *Client) take(ctx context.Context) (*conn, error) {
	for {
		c.mu.Lock()
		n := len(c.idle)
		if n == 0 {
			c.mu.Unlock()
			break
		}
		k := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		if k.alive() {
			return k, nil
		}
		_ = k.Close()
	}
	nc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: nc, br: bufio.NewReaderSize(nc, 4<<10)}, nil
}

// alive looks whether the peer closed an idle connection (a daemon that was restarted), so that a request that must
// not be sent twice is not sent into a dead one.
func (k *conn) alive() bool {
	if k.br.Buffered() > 0 {
		return false
	}
	sc, ok := k.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, e := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(e, syscall.EAGAIN)
		return true
	})
	return err == nil && open
}

// body gives its connection back when it was read to the end and closed.
type body struct {
	io.ReadCloser
	client   *Client
	conn     *conn
	stop     func() bool
	reusable bool
	eof      bool
	closed   bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.eof = b.eof || errors.Is(err, io.EOF)
	return n, err
}

// Close ends the use of the response. A body with unread bytes costs its connection.
func (b *body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.reusable && !b.eof { // an empty or fully decoded body still has its end marker to read
		var p [1]byte
		if n, err := b.ReadCloser.Read(p[:]); n == 0 && errors.Is(err, io.EOF) {
			b.eof = true
		}
	}
	if b.stop() && b.reusable && b.eof {
		b.client.mu.Lock()
		b.client.idle = append(b.client.idle, b.conn)
		b.client.mu.Unlock()
		return nil
	}
	return b.conn.Close()
}

// reusable tells whether the connection can carry another request after this answer: a streamed request may still
// be written, and a body of known end is short enough to be waited for.
func reusable(req *http.Request, res *http.Response) bool {
	return !res.Close && req.ContentLength >= 0 && (res.ContentLength >= 0 || len(res.TransferEncoding) > 0)
}

// call sends r, decodes the answer into out (nil: ignored) and ends it.
func (c *Client) call(ctx context.Context, r request, out any) error {
	res, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if out == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		return nil
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw, err = io.ReadAll(res.Body)
	} else {
		err = json.NewDecoder(res.Body).Decode(out)
	}
	if err != nil {
		return interrupted(ctx, fmt.Errorf("%s %s: answer: %w", r.method, r.path, err))
	}
	return nil
}

// get asks for a document of type T.
func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	var out T
	err := c.call(ctx, request{method: http.MethodGet, path: path, query: q}, &out)
	return out, err
}

// documents calls each for every JSON document of a stream until its end, or until each fails; what names the stream.
func documents[T any](ctx context.Context, stream io.Reader, what string, each func(T) error) error {
	for dec := json.NewDecoder(stream); ; {
		var doc T
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return interrupted(ctx, fmt.Errorf("%s: %w", what, err))
		}
		if err := each(doc); err != nil {
			return err
		}
	}
}

// post sends in (nil: no body) and returns the answer of type T.
func post[T any](ctx context.Context, c *Client, path string, q url.Values, in any) (T, error) {
	var out T
	err := c.post(ctx, path, q, in, &out)
	return out, err
}

// post sends in (nil: no body) as JSON.
func (c *Client) post(ctx context.Context, path string, q url.Values, in, out any) error {
	r := request{method: http.MethodPost, path: path, query: q}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("POST %s: encode: %w", path, err)
		}
		r.body = b
	}
	return c.call(ctx, r, out)
}

// delete sends a DELETE, and decodes the answer into out (nil: ignored).
func (c *Client) delete(ctx context.Context, path string, q url.Values, out any) error {
	return c.call(ctx, request{method: http.MethodDelete, path: path, query: q}, out)
}

// element escapes an id, name or image reference for the path: the slashes of a reference stay, as the engine's
// routes expect them.
func element(ref string) string { return strings.Trim(ref, "/") }
