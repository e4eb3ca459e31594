package wire

import "encoding/binary"

// kind is how a field's value is written.
type kind uint8

const (
	varintKind     kind = 0
	fixed64Kind    kind = 1
	bytesKind      kind = 2
	startGroupKind kind = 3
	endGroupKind   kind = 4
	fixed32Kind    kind = 5
)

// maxNumber is the highest number that a field may have.
const maxNumber = 1<<29 - 1

// Error is a message that cannot be read.
type Error string

func (e Error) Error() string { return string(e) }

const (
	errTruncated = Error("protobuf: the message ends within a field")
	errField     = Error("protobuf: a field has no valid number or type")
	errUTF8      = Error("protobuf: a string is no UTF-8")
	errDepth     = Error("protobuf: messages are nested too deep")
)

func appendTag(out []byte, number int, k kind) []byte {
	return appendVarint(out, uint64(number)<<3|uint64(k))
}

func appendVarint(out []byte, v uint64) []byte { return binary.AppendUvarint(out, v) }

func appendFixed64(out []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(out, v) }

func appendBytes(out, data []byte) []byte {
	return append(appendVarint(out, uint64(len(data))), data...)
}

// varint reads a number; n is 0 when there is none.
func varint(data []byte) (v uint64, n int) {
	v, n = binary.Uvarint(data)
	return v, max(n, 0)
}

// next reads one field and returns what comes after it.
func (f *Fields) next(data []byte) (rest []byte, err error) {
	if f.number, f.kind, data, err = tag(data); err != nil {
		return nil, err
	}
	f.scalar, f.data = 0, nil
	switch f.kind {
	case varintKind:
		v, n := varint(data)
		if n == 0 {
			return nil, errTruncated
		}
		f.scalar = v
		return data[n:], nil
	case fixed64Kind:
		if len(data) < 8 {
			return nil, errTruncated
		}
		f.scalar = binary.LittleEndian.Uint64(data)
		return data[8:], nil
	case fixed32Kind:
		if len(data) < 4 {
			return nil, errTruncated
		}
		f.scalar = uint64(binary.LittleEndian.Uint32(data))
		return data[4:], nil
	case bytesKind:
		size, n := varint(data)
		if n == 0 || size > uint64(len(data)-n) {
			return nil, errTruncated
		}
		f.data = data[n : n+int(size)]
		return data[n+int(size):], nil
	case startGroupKind:
		return skipGroup(data, f.number, f.depth+1)
	}
	return nil, errField
}

func tag(data []byte) (number int, k kind, rest []byte, err error) {
	v, n := varint(data)
	if n == 0 {
		return 0, 0, nil, errTruncated
	}
	if v>>3 == 0 || v>>3 > maxNumber || v&7 > uint64(fixed32Kind) {
		return 0, 0, nil, errField
	}
	return int(v >> 3), kind(v & 7), data[n:], nil
}

// skipGroup goes over a group, a form of sub-message that nobody writes any more, up to its own end.
func skipGroup(data []byte, number, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	inner := Fields{reading: true, depth: depth}
	for {
		ended, k, rest, err := tag(data)
		if err != nil {
			return nil, err
		}
		if k == endGroupKind {
			if ended != number {
				return nil, errField
			}
			return rest, nil
		}
		if data, err = inner.next(data); err != nil {
			return nil, err
		}
	}
}
