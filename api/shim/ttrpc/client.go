package ttrpc

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"

	"github.com/conex-containers/conex/api/shim/wire"
)

// ErrClosed says that the connection has ended, before the call or while it waited: the other side may have carried
// the call out or not.
const ErrClosed = wire.Error("ttrpc: closed")

// Client makes calls over one connection, any number at a time.
type Client struct {
	out writer

	mu      sync.Mutex
	next    uint32
	waiting map[uint32]chan frame // nil: closed
}

// NewClient returns a client on conn, which is its own from now on.
func NewClient(conn net.Conn) *Client {
	c := &Client{out: writer{conn: conn}, next: 1, waiting: make(map[uint32]chan frame)}
	go c.receive()
	return c
}

// Close ends the connection, and the calls that wait with ErrClosed.
func (c *Client) Close() error { return c.out.conn.Close() }

// Call makes one call and reads its answer into resp. Errors are a *Status (the other side's), ErrClosed, or the
// context's; after the latter the call may still go on over there.
func (c *Client) Call(ctx context.Context, service, method string, req, resp wire.Message) error {
	call := &request{service: service, method: method, payload: wire.Marshal(req)}
	if deadline, ok := ctx.Deadline(); ok {
		call.timeout = max(int64(time.Until(deadline)), 1)
	}
	answered, stream, err := c.begin(call)
	if err != nil {
		return err
	}
	var f frame
	select {
	case f = <-answered:
	case <-ctx.Done():
		c.forget(stream)
		return ctx.Err()
	}
	if f.stream == 0 {
		return ErrClosed
	}
	if f.kind != typeResponse {
		return &Status{Code: Unimplemented, Message: "ttrpc: " + method + " is answered by a stream of data"}
	}
	var answer response
	if err := wire.Unmarshal(f.data, &answer); err != nil {
		return err
	}
	if answer.status != nil && answer.status.Code != OK {
		return answer.status
	}
	return wire.Unmarshal(answer.payload, resp)
}

// begin sends a request. Stream numbers must go out in their order.
func (c *Client) begin(call *request) (answered chan frame, stream uint32, err error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	answered = make(chan frame, 1)
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return nil, 0, ErrClosed
	}
	stream = c.next
	c.next += 2
	c.waiting[stream] = answered
	c.mu.Unlock()
	if err := c.out.sendLocked(stream, typeRequest, call); err != nil {
		c.forget(stream)
		if err == errTooLong {
			return nil, 0, err
		}
		_ = c.Close() // half a frame may be out
		return nil, 0, ErrClosed
	}
	return answered, stream, nil
}

func (c *Client) forget(stream uint32) {
	c.mu.Lock()
	delete(c.waiting, stream)
	c.mu.Unlock()
}

// receive gives each answer to its call.
func (c *Client) receive() {
	in := bufio.NewReaderSize(c.out.conn, readBuffer)
	for {
		f, err := readFrame(in)
		if err != nil && err != errTooLong {
			break
		}
		if err != nil {
			f.kind = typeResponse
			f.data = wire.Marshal(&response{status: &Status{Code: ResourceExhausted, Message: err.Error()}})
		}
		c.mu.Lock()
		answered := c.waiting[f.stream]
		delete(c.waiting, f.stream)
		c.mu.Unlock()
		if answered != nil { // else the caller has gone
			answered <- f
		}
	}
	_ = c.Close()
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, answered := range waiting {
		answered <- frame{}
	}
}
