package dbus

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/conex-containers/conex/base/errdefs"
)

// Kinds of message.
const (
	MethodCall   byte = 1
	MethodReturn byte = 2
	ErrorReply   byte = 3
	SignalKind   byte = 4
)

// Codes of header fields.
const (
	fieldPath byte = iota + 1
	fieldInterface
	fieldMember
	fieldError
	fieldReplySerial
	fieldDestination
	fieldSender
	fieldSignature
)

// maxMessage is the specification's limit.
const maxMessage = 128 << 20

// Message is one message in either direction.
type Message struct {
	Kind                    byte
	Serial, Reply           uint32 // Reply is the serial number of the call that this answers
	Path, Interface, Member string
	ErrorName, Destination  string
	Body                    []any
}

// Encode writes m in little endian.
func (m *Message) Encode() ([]byte, error) {
	var body writer
	sig := ""
	for _, v := range m.Body {
		s, err := signature(v)
		if err != nil {
			return nil, err
		}
		sig += s
		body.value(v)
	}
	type field struct {
		code  byte
		typ   string
		value string
	}
	var fields []field
	for _, f := range []field{{fieldPath, "o", m.Path}, {fieldInterface, "s", m.Interface}, {fieldMember, "s", m.Member},
		{fieldError, "s", m.ErrorName}, {fieldDestination, "s", m.Destination}, {fieldSignature, "g", sig}} {
		if f.value != "" {
			fields = append(fields, f)
		}
	}
	w := &writer{b: []byte{'l', m.Kind, 0, 1}}
	w.uint32(uint32(len(body.b)))
	w.uint32(m.Serial)
	n := len(fields)
	if m.Reply != 0 {
		n++
	}
	w.array(8, n, func(i int) {
		if i == len(fields) {
			w.b = append(w.b, fieldReplySerial)
			w.signature("u")
			w.uint32(m.Reply)
			return
		}
		w.b = append(w.b, fields[i].code)
		w.signature(fields[i].typ)
		if fields[i].typ == "g" {
			w.signature(fields[i].value)
			return
		}
		w.string(fields[i].value)
	})
	w.align(8)
	if body.err != nil {
		return nil, body.err
	}
	return append(w.b, body.b...), w.err
}

// ReadMessage reads the next message.
func ReadMessage(in *bufio.Reader) (*Message, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, fmt.Errorf("dbus: read: %w", err)
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch head[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
		return nil, errdefs.InvalidArgument("dbus: a message begins with %q", head[0])
	}
	bodyLen, fieldsLen := int64(order.Uint32(head[4:])), int64(order.Uint32(head[12:]))
	rest := (fieldsLen+7)&^7 + bodyLen
	if rest > maxMessage {
		return nil, errdefs.InvalidArgument("dbus: a message of %d bytes", rest)
	}
	// Grown while it is read: a length alone must not cost memory.
	b, err := io.ReadAll(io.LimitReader(in, rest))
	if err != nil {
		return nil, fmt.Errorf("dbus: read: %w", err)
	}
	if int64(len(b)) < rest {
		return nil, errShort
	}
	m := &Message{Kind: head[1], Serial: order.Uint32(head[8:])}
	sig, err := m.fields(&reader{order: order, b: append(head, b[:fieldsLen]...), at: 12})
	if err != nil {
		return nil, err
	}
	m.Body, err = (&reader{order: order, b: b[rest-bodyLen:]}).values(sig, 0)
	return m, err
}

// fields reads the header's fields, and returns the body's signature.
func (m *Message) fields(r *reader) (sig string, err error) {
	list, _, err := r.one("a(yv)", 0)
	if err != nil {
		return "", err
	}
	items, _ := list.([]any)
	for _, item := range items {
		pair, _ := item.([]any)
		if len(pair) != 2 {
			return "", errShort
		}
		code, _ := pair[0].(byte)
		text, _ := pair[1].(string)
		switch code {
		case fieldPath:
			m.Path = text
		case fieldInterface:
			m.Interface = text
		case fieldMember:
			m.Member = text
		case fieldError:
			m.ErrorName = text
		case fieldDestination:
			m.Destination = text
		case fieldSignature:
			sig = text
		case fieldReplySerial:
			m.Reply, _ = pair[1].(uint32)
		}
	}
	return sig, nil
}
