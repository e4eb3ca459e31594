// Package wire encodes and decodes protobuf messages (protobuf.dev, Encoding) that are described by code: each
// message tells its fields once, and the same list serves both ways.
//
//	func (m *KillRequest) Fields(f *wire.Fields) {
//		f.String(1, &m.ID)
//		f.Uint32(3, &m.Signal)
//	}
//
// It links nothing but the standard library's smallest packages and initialises nothing: generated messages cost
// every shim a third of a megabyte of descriptors.
package wire

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Message is what has a list of fields, in the order of their numbers.
type Message interface {
	Fields(f *Fields)
}

// Fields goes through a message, to write it or to take one field that was read. Scalars that are zero are not
// written (proto3).
type Fields struct {
	out []byte // writing: what is written

	reading bool
	number  int // the field that was read
	kind    kind
	scalar  uint64 // its value when kind is a number
	data    []byte // its value when kind is bytesKind
	known   bool   // a field of the message has taken it
	depth   int
	err     error
}

// maxDepth bounds how deep messages and groups may nest in what is read.
const maxDepth = 100

// Marshal returns the encoding of m.
func Marshal(m Message) []byte { return Append(nil, m) }

// Append appends the encoding of m.
func Append(out []byte, m Message) []byte {
	f := Fields{out: out}
	m.Fields(&f)
	return f.out
}

// Unmarshal reads data into m: what it names replaces or is added to what m holds. Unknown fields are skipped.
func Unmarshal(data []byte, m Message) error { return unmarshal(data, m, 0) }

func unmarshal(data []byte, m Message, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	f := Fields{reading: true, depth: depth}
	for len(data) > 0 {
		rest, err := f.next(data)
		if err != nil {
			return err
		}
		data = rest
		f.known = false
		m.Fields(&f)
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// is reports whether the field that was read is this one.
func (f *Fields) is(number int, k kind) bool {
	if f.known || f.number != number || f.kind != k {
		return false
	}
	f.known = true
	return true
}

func (f *Fields) number64(number int, v uint64) (uint64, bool) {
	if f.reading {
		return f.scalar, f.is(number, varintKind)
	}
	if v != 0 {
		f.out = appendVarint(appendTag(f.out, number, varintKind), v)
	}
	return 0, false
}

// Uint64 is a field of type uint64.
func (f *Fields) Uint64(number int, p *uint64) {
	if v, ok := f.number64(number, *p); ok {
		*p = v
	}
}

// Uint32 is a field of type uint32.
func (f *Fields) Uint32(number int, p *uint32) {
	if v, ok := f.number64(number, uint64(*p)); ok {
		*p = uint32(v)
	}
}

// Int64 is a field of type int64.
func (f *Fields) Int64(number int, p *int64) {
	if v, ok := f.number64(number, uint64(*p)); ok {
		*p = int64(v)
	}
}

// Int32 is a field of type int32, or an enumeration.
func (f *Fields) Int32(number int, p *int32) {
	if v, ok := f.number64(number, uint64(int64(*p))); ok {
		*p = int32(v)
	}
}

// Bool is a field of type bool.
func (f *Fields) Bool(number int, p *bool) {
	n := uint64(0)
	if *p {
		n = 1
	}
	if v, ok := f.number64(number, n); ok {
		*p = v != 0
	}
}

// Double is a field of type double.
func (f *Fields) Double(number int, p *float64) {
	if f.reading {
		if f.is(number, fixed64Kind) {
			*p = math.Float64frombits(f.scalar)
		}
		return
	}
	if bits := math.Float64bits(*p); bits != 0 {
		f.out = appendFixed64(appendTag(f.out, number, fixed64Kind), bits)
	}
}

// Bytes is a field of type bytes.
func (f *Fields) Bytes(number int, p *[]byte) {
	if f.reading {
		if f.is(number, bytesKind) {
			*p = slices.Clone(f.data)
		}
		return
	}
	if len(*p) > 0 {
		f.out = appendBytes(appendTag(f.out, number, bytesKind), *p)
	}
}

// String is a field of type string. Written, what is no UTF-8 is replaced, because readers refuse it.
func (f *Fields) String(number int, p *string) {
	if f.reading {
		if f.is(number, bytesKind) {
			*p = f.text()
		}
		return
	}
	if *p != "" {
		f.out = appendString(f.out, number, *p)
	}
}

// Strings is a repeated field of type string.
func (f *Fields) Strings(number int, p *[]string) {
	if f.reading {
		if f.is(number, bytesKind) {
			*p = append(*p, f.text())
		}
		return
	}
	for _, s := range *p {
		f.out = appendString(f.out, number, s)
	}
}

// Uint64s is a repeated field of type uint64, written packed.
func (f *Fields) Uint64s(number int, p *[]uint64) {
	if !f.reading {
		if len(*p) == 0 {
			return
		}
		var packed []byte
		for _, v := range *p {
			packed = appendVarint(packed, v)
		}
		f.out = appendBytes(appendTag(f.out, number, bytesKind), packed)
		return
	}
	if f.is(number, varintKind) {
		*p = append(*p, f.scalar)
		return
	}
	if !f.is(number, bytesKind) {
		return
	}
	for packed := f.data; len(packed) > 0; {
		v, n := varint(packed)
		if n == 0 {
			f.err = errTruncated
			return
		}
		*p, packed = append(*p, v), packed[n:]
	}
}

// StringMap is a field of type map<string, string>, written in the order of its keys.
func (f *Fields) StringMap(number int, p *map[string]string) {
	if f.reading {
		if f.is(number, bytesKind) {
			var entry pair
			f.err = unmarshal(f.data, &entry, f.depth+1)
			if *p == nil {
				*p = make(map[string]string)
			}
			(*p)[entry.key] = entry.value
		}
		return
	}
	keys := make([]string, 0, len(*p))
	for key := range *p {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		// A map's entry has both of its fields, also when they are empty.
		entry := appendString(appendString(nil, 1, key), 2, (*p)[key])
		f.out = appendBytes(appendTag(f.out, number, bytesKind), entry)
	}
}

// pair is an entry of a map.
type pair struct{ key, value string }

func (m *pair) Fields(f *Fields) {
	f.String(1, &m.key)
	f.String(2, &m.value)
}

// PointerTo is a message type behind its pointer.
type PointerTo[T any] interface {
	*T
	Message
}

// Sub is a field that is a message; nil is not written.
func Sub[T any, P PointerTo[T]](f *Fields, number int, p *P) {
	if f.reading {
		if f.is(number, bytesKind) {
			if *p == nil {
				*p = new(T)
			}
			f.err = unmarshal(f.data, *p, f.depth+1)
		}
		return
	}
	if *p != nil {
		f.sub(number, *p)
	}
}

// Subs is a repeated field of messages.
func Subs[T any, P PointerTo[T]](f *Fields, number int, p *[]P) {
	if f.reading {
		if f.is(number, bytesKind) {
			m := P(new(T))
			f.err = unmarshal(f.data, m, f.depth+1)
			*p = append(*p, m)
		}
		return
	}
	for _, m := range *p {
		f.sub(number, m)
	}
}

func (f *Fields) sub(number int, m Message) {
	f.out = appendBytes(appendTag(f.out, number, bytesKind), Marshal(m))
}

// text is the field that was read, as a string.
func (f *Fields) text() string {
	if !utf8.Valid(f.data) {
		f.err = errUTF8
		return ""
	}
	return string(f.data)
}

func appendString(out []byte, number int, s string) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return append(appendVarint(appendTag(out, number, bytesKind), uint64(len(s))), s...)
}
