package netlink

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// message is one request under construction: its header, a fixed part and attributes.
type message struct {
	kind  uint16
	flags uint16
	b     []byte
}

func newMessage(kind, flags uint16) *message {
	return &message{kind: kind, flags: flags | unix.NLM_F_REQUEST, b: make([]byte, unix.NLMSG_HDRLEN, 256)}
}

// finish fills in the header and returns the bytes to send.
func (m *message) finish(flags uint16, seq uint32) []byte {
	binary.NativeEndian.PutUint32(m.b[0:], uint32(len(m.b)))
	binary.NativeEndian.PutUint16(m.b[4:], m.kind)
	binary.NativeEndian.PutUint16(m.b[6:], m.flags|flags)
	binary.NativeEndian.PutUint32(m.b[8:], seq)
	m.pad()
	return m.b
}

func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

func (m *message) pad() {
	for len(m.b)%unix.NLMSG_ALIGNTO != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *message) raw(b ...byte) *message {
	m.b = append(m.b, b...)
	return m
}

// link adds a struct ifinfomsg; mask says which of the interface flags count.
func (m *message) link(family uint8, index int, flags, mask uint32) *message {
	m.raw(family, 0, 0, 0)
	m.b = binary.NativeEndian.AppendUint32(m.b, uint32(index))
	m.b = binary.NativeEndian.AppendUint32(m.b, flags)
	m.b = binary.NativeEndian.AppendUint32(m.b, mask)
	return m
}

// attr adds an attribute of raw bytes.
func (m *message) attr(kind uint16, value []byte) *message {
	m.pad()
	m.b = binary.NativeEndian.AppendUint16(m.b, uint16(unix.SizeofRtAttr+len(value)))
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = append(m.b, value...)
	m.pad()
	return m
}

// str adds a zero-terminated string.
func (m *message) str(kind uint16, s string) *message { return m.attr(kind, append([]byte(s), 0)) }

func (m *message) u8(kind uint16, v uint8) *message { return m.attr(kind, []byte{v}) }

func (m *message) u16(kind uint16, v uint16) *message {
	return m.attr(kind, binary.NativeEndian.AppendUint16(nil, v))
}

func (m *message) u32(kind uint16, v uint32) *message {
	return m.attr(kind, binary.NativeEndian.AppendUint32(nil, v))
}

func (m *message) be32(kind uint16, v uint32) *message {
	return m.attr(kind, binary.BigEndian.AppendUint32(nil, v))
}

// nest adds an attribute whose value is what inner adds.
func (m *message) nest(kind uint16, inner func()) *message {
	m.pad()
	start := len(m.b)
	m.b = binary.NativeEndian.AppendUint16(m.b, 0)
	m.b = binary.NativeEndian.AppendUint16(m.b, kind|unix.NLA_F_NESTED)
	inner()
	m.pad()
	binary.NativeEndian.PutUint16(m.b[start:], uint16(len(m.b)-start))
	return m
}

// attributes yields the attributes in b; it stops at the first malformed one.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			n := int(binary.NativeEndian.Uint16(b))
			if n < unix.SizeofRtAttr || n > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofRtAttr:n]) {
				return
			}
			b = b[min(align(n), len(b)):]
		}
	}
}

// text reads a zero-terminated string attribute.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
