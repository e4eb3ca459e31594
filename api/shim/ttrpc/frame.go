// Package ttrpc speaks containerd's protocol of calls over a local socket (github.com/containerd/ttrpc,
// PROTOCOL.md), as server and as client, for unary calls: a Request frame of a new, odd stream number is answered by
// one Response frame of the same number.
//
//	+--------------------+--------------------+----------+-----------+----------------+
//	| data length (32)   | stream (32)        | type (8) | flags (8) | data           |
//	+--------------------+--------------------+----------+-----------+----------------+
//
// Calls that stream data are refused. There is no message for a caller's change of mind: a caller's deadline goes
// with the request, and a closed connection cancels all of its calls.
package ttrpc

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/conex-containers/conex/api/shim/wire"
)

const (
	headerSize = 10
	maxData    = 4 << 20 // longer frames are refused, by the protocol
	readBuffer = 1 << 10 // one read(2) for most frames
)

const (
	typeRequest  = 1
	typeResponse = 2
	typeData     = 3
)

const flagRemoteOpen = 2 // the caller will send data

// frame is one message.
type frame struct {
	stream uint32
	kind   uint8
	flags  uint8
	data   []byte
}

// errTooLong is a frame that was skipped; the connection goes on.
const errTooLong = wire.Error("ttrpc: the frame is longer than 4 MiB")

func readFrame(r *bufio.Reader) (f frame, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return f, err
	}
	size := binary.BigEndian.Uint32(header[:])
	f.stream, f.kind, f.flags = binary.BigEndian.Uint32(header[4:]), header[8], header[9]
	if size > maxData {
		if _, err := r.Discard(int(size)); err != nil {
			return f, err
		}
		return f, errTooLong
	}
	f.data = make([]byte, size)
	_, err = io.ReadFull(r, f.data)
	return f, err
}

// writer sends frames whole, from any goroutine.
type writer struct {
	mu   sync.Mutex
	conn net.Conn
}

// send writes a message as one frame with one write(2).
func (w *writer) send(stream uint32, kind uint8, m wire.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sendLocked(stream, kind, m)
}

func (w *writer) sendLocked(stream uint32, kind uint8, m wire.Message) error {
	buf := wire.Append(make([]byte, headerSize, 256), m)
	size := len(buf) - headerSize
	if size > maxData {
		return errTooLong
	}
	binary.BigEndian.PutUint32(buf, uint32(size))
	binary.BigEndian.PutUint32(buf[4:], stream)
	buf[8] = kind
	_, err := w.conn.Write(buf)
	return err
}

// request is the data of a Request frame.
type request struct {
	service  string
	method   string
	payload  []byte
	timeout  int64 // nanoseconds, 0: none
	metadata []*keyValue
}

func (m *request) Fields(f *wire.Fields) {
	f.String(1, &m.service)
	f.String(2, &m.method)
	f.Bytes(3, &m.payload)
	f.Int64(4, &m.timeout)
	wire.Subs(f, 5, &m.metadata)
}

// keyValue is one item of a call's metadata.
type keyValue struct{ key, value string }

func (m *keyValue) Fields(f *wire.Fields) {
	f.String(1, &m.key)
	f.String(2, &m.value)
}

// response is the data of a Response frame.
type response struct {
	status  *Status
	payload []byte
}

func (m *response) Fields(f *wire.Fields) {
	wire.Sub(f, 1, &m.status)
	f.Bytes(2, &m.payload)
}
