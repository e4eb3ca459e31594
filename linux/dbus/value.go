package dbus

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/conex-containers/conex/base/errdefs"
)

// ObjectPath is a value of type o.
type ObjectPath string

// Property is a name and a value in a variant: type (sv).
type Property struct {
	Name  string
	Value any
}

// Unit is a unit with its properties: type (sa(sv)).
type Unit struct {
	Name       string
	Properties []Property
}

// Pair is type (ss).
type Pair struct{ First, Second string }

// Rate is type (st).
type Rate struct {
	Name  string
	Value uint64
}

// signature is the type code of v, one of the Go types that writer.value knows.
func signature(v any) (string, error) {
	switch v.(type) {
	case byte:
		return "y", nil
	case bool:
		return "b", nil
	case int32:
		return "i", nil
	case uint32:
		return "u", nil
	case int64:
		return "x", nil
	case uint64:
		return "t", nil
	case float64:
		return "d", nil
	case string:
		return "s", nil
	case ObjectPath:
		return "o", nil
	case []byte:
		return "ay", nil
	case []string:
		return "as", nil
	case []uint32:
		return "au", nil
	case []Property:
		return "a(sv)", nil
	case []Unit:
		return "a(sa(sv))", nil
	case []Pair:
		return "a(ss)", nil
	case []Rate:
		return "a(st)", nil
	}
	return "", errdefs.InvalidArgument("dbus: no type for %T", v)
}

// writer marshals in little endian. Values are aligned to their size, structures to 8.
type writer struct {
	b   []byte
	err error
}

func (w *writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) uint32(v uint32) {
	w.align(4)
	w.b = binary.LittleEndian.AppendUint32(w.b, v)
}

func (w *writer) uint64(v uint64) {
	w.align(8)
	w.b = binary.LittleEndian.AppendUint64(w.b, v)
}

func (w *writer) string(s string) {
	w.uint32(uint32(len(s)))
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) signature(s string) {
	w.b = append(append(append(w.b, byte(len(s))), s...), 0)
}

func (w *writer) variant(v any) {
	s, err := signature(v)
	if err != nil {
		w.err = err
		return
	}
	w.signature(s)
	w.value(v)
}

// array writes n elements; the length in front counts neither itself nor the padding before the first element.
func (w *writer) array(alignment, n int, element func(i int)) {
	w.uint32(0)
	at := len(w.b) - 4
	w.align(alignment)
	from := len(w.b)
	for i := range n {
		w.align(alignment)
		element(i)
	}
	binary.LittleEndian.PutUint32(w.b[at:], uint32(len(w.b)-from))
}

func (w *writer) value(v any) {
	switch v := v.(type) {
	case byte:
		w.b = append(w.b, v)
	case bool:
		n := uint32(0)
		if v {
			n = 1
		}
		w.uint32(n)
	case int32:
		w.uint32(uint32(v))
	case uint32:
		w.uint32(v)
	case int64:
		w.uint64(uint64(v))
	case uint64:
		w.uint64(v)
	case float64:
		w.uint64(math.Float64bits(v))
	case string:
		w.string(v)
	case ObjectPath:
		w.string(string(v))
	case []byte:
		w.array(1, len(v), func(i int) { w.b = append(w.b, v[i]) })
	case []string:
		w.array(4, len(v), func(i int) { w.string(v[i]) })
	case []uint32:
		w.array(4, len(v), func(i int) { w.uint32(v[i]) })
	case []Property:
		w.array(8, len(v), func(i int) { w.string(v[i].Name); w.variant(v[i].Value) })
	case []Unit:
		w.array(8, len(v), func(i int) { w.string(v[i].Name); w.value(v[i].Properties) })
	case []Pair:
		w.array(8, len(v), func(i int) { w.string(v[i].First); w.string(v[i].Second) })
	case []Rate:
		w.array(8, len(v), func(i int) { w.string(v[i].Name); w.uint64(v[i].Value) })
	default:
		w.err = errdefs.InvalidArgument("dbus: no type for %T", v)
	}
}

// reader takes values apart by their signature.
type reader struct {
	order binary.ByteOrder
	b     []byte
	at    int
}

var errShort = fmt.Errorf("dbus: a message ends too early")

func (r *reader) take(alignment, n int) ([]byte, error) {
	if rest := r.at % alignment; rest != 0 {
		r.at += alignment - rest
	}
	if n < 0 || r.at > len(r.b) || n > len(r.b)-r.at {
		return nil, errShort
	}
	b := r.b[r.at : r.at+n]
	r.at += n
	return b, nil
}

func (r *reader) uint32() (uint32, error) {
	b, err := r.take(4, 4)
	if err != nil {
		return 0, err
	}
	return r.order.Uint32(b), nil
}

func (r *reader) uint64() (uint64, error) {
	b, err := r.take(8, 8)
	if err != nil {
		return 0, err
	}
	return r.order.Uint64(b), nil
}

func (r *reader) text(n int) (string, error) {
	b, err := r.take(1, n+1)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// values reads all values of a signature. Structures and dictionary entries become []any, arrays too.
func (r *reader) values(sig string, depth int) (out []any, err error) {
	for sig != "" {
		var v any
		if v, sig, err = r.one(sig, depth); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// maxDepth bounds how deep arrays, structures and variants may lie in each other, as the specification does.
const maxDepth = 64

// one reads the value of the first complete type of sig, and returns what follows the type.
func (r *reader) one(sig string, depth int) (v any, rest string, err error) {
	if depth > maxDepth {
		return nil, "", errdefs.InvalidArgument("dbus: a value is nested too deep")
	}
	code := sig[0]
	switch code {
	case 'y':
		b, err := r.take(1, 1)
		if err != nil {
			return nil, "", err
		}
		return b[0], sig[1:], nil
	case 'n', 'q':
		b, err := r.take(2, 2)
		if err != nil {
			return nil, "", err
		}
		return uint32(r.order.Uint16(b)), sig[1:], nil
	case 'b', 'i', 'u', 'h':
		n, err := r.uint32()
		if code == 'b' {
			return n != 0, sig[1:], err
		}
		return n, sig[1:], err
	case 'x', 't', 'd':
		n, err := r.uint64()
		return n, sig[1:], err
	case 's', 'o':
		n, err := r.uint32()
		if err != nil {
			return nil, "", err
		}
		s, err := r.text(int(n))
		return s, sig[1:], err
	case 'g':
		b, err := r.take(1, 1)
		if err != nil {
			return nil, "", err
		}
		s, err := r.text(int(b[0]))
		return s, sig[1:], err
	case 'v':
		inner, _, err := r.one("g", depth+1)
		if err != nil {
			return nil, "", err
		}
		t, _ := inner.(string)
		if end, err := typeEnd(t, 0); err != nil || end != len(t) {
			return nil, "", errdefs.InvalidArgument("dbus: a variant of type %q", t)
		}
		v, _, err := r.one(t, depth+1)
		return v, sig[1:], err
	case 'a', '(', '{':
		return r.container(sig, depth)
	}
	return nil, "", errdefs.InvalidArgument("dbus: type %q is not known", sig)
}

func (r *reader) container(sig string, depth int) (any, string, error) {
	end, err := typeEnd(sig, 0)
	if err != nil {
		return nil, "", err
	}
	if sig[0] != 'a' {
		if _, err := r.take(8, 0); err != nil {
			return nil, "", err
		}
		v, err := r.values(sig[1:end-1], depth+1)
		return v, sig[end:], err
	}
	n, err := r.uint32()
	if err != nil {
		return nil, "", err
	}
	if _, err := r.take(alignmentOf(sig[1]), 0); err != nil {
		return nil, "", err
	}
	if int64(n) > int64(len(r.b)-r.at) {
		return nil, "", errShort
	}
	stop := r.at + int(n)
	list := []any{}
	for r.at < stop {
		v, _, err := r.one(sig[1:end], depth+1)
		if err != nil {
			return nil, "", err
		}
		list = append(list, v)
	}
	return list, sig[end:], nil
}

func alignmentOf(code byte) int {
	switch code {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

// typeEnd is the length of the first complete type of sig.
func typeEnd(sig string, depth int) (int, error) {
	bad := errdefs.InvalidArgument("dbus: type %q", sig)
	if sig == "" || depth > maxDepth {
		return 0, bad
	}
	switch sig[0] {
	case 'a':
		n, err := typeEnd(sig[1:], depth+1)
		return n + 1, err
	case '(', '{':
		closing := byte(')')
		if sig[0] == '{' {
			closing = '}'
		}
		at := 1
		for at < len(sig) && sig[at] != closing {
			n, err := typeEnd(sig[at:], depth+1)
			if err != nil {
				return 0, err
			}
			at += n
		}
		if at == len(sig) || at == 1 {
			return 0, bad
		}
		return at + 1, nil
	case ')', '}':
		return 0, bad
	}
	return 1, nil
}
