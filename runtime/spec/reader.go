package spec

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"
)

// reader reads JSON that a machine has written, without reflection. Whatever is unusual (a null, an escape in a key, a
// number that is no integer, anything wrong) sets odd, and the caller gives the whole text to encoding/json.
type reader struct {
	text []byte
	at   int
	odd  bool
}

// next skips space and returns the byte that follows, 0 at the end and after anything odd.
func (r *reader) next() byte {
	for r.at < len(r.text) && !r.odd {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// take skips c, which must be next.
func (r *reader) take(c byte) {
	if r.next() != c {
		r.odd = true
		return
	}
	r.at++
}

// end says whether the text is over and nothing in it was odd.
func (r *reader) end() bool { return r.next() == 0 && !r.odd && r.at == len(r.text) }

// object calls field for every key; field reads the value. A key that comes twice is odd.
func (r *reader) object(field func(key string)) {
	var few [20]string
	seen := few[:0]
	r.between('{', '}', func() {
		key := r.plain()
		r.take(':')
		r.odd = r.odd || slices.Contains(seen, key)
		seen = append(seen, key)
		field(key)
	})
}

// between calls item for everything between open and shut, with commas between them.
func (r *reader) between(open, shut byte, item func()) {
	r.take(open)
	if r.next() == shut {
		r.at++
		return
	}
	for !r.odd {
		item()
		if r.next() != ',' {
			break
		}
		r.at++
	}
	r.take(shut)
}

// token returns the bytes of the string that is next, without its quotes, and whether it holds escapes.
func (r *reader) token() (b []byte, escaped bool) {
	r.take('"')
	start := r.at
	for ; r.at < len(r.text) && !r.odd; r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			b = r.text[start:r.at]
			r.at++
			if !utf8.Valid(b) {
				r.odd = true
			}
			return b, escaped
		case c == '\\':
			escaped = true
			r.at++
		case c < ' ':
			r.odd = true
		}
	}
	r.odd = true
	return nil, false
}

// plain is a string without escapes.
func (r *reader) plain() string {
	b, escaped := r.token()
	if escaped {
		r.odd = true
	}
	return string(b)
}

// str is a string.
func (r *reader) str() string {
	start := r.at
	b, escaped := r.token()
	if !escaped {
		return string(b)
	}
	var s string
	if r.odd || json.Unmarshal(r.text[start:r.at], &s) != nil {
		r.odd = true
	}
	return s
}

func (r *reader) boolean() bool {
	r.next()
	rest := r.text[min(r.at, len(r.text)):]
	switch {
	case bytes.HasPrefix(rest, []byte("true")):
		r.at += len("true")
		return true
	case bytes.HasPrefix(rest, []byte("false")):
		r.at += len("false")
		return false
	}
	r.odd = true
	return false
}

// digits returns the bytes of the integer that is next.
func (r *reader) digits() string {
	r.next()
	start := r.at
	if r.at < len(r.text) && r.text[r.at] == '-' {
		r.at++
	}
	first := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	// A zero in front is no JSON; a fraction or an exponent is no integer.
	if r.at == first || r.text[first] == '0' && r.at > first+1 {
		r.odd = true
	}
	if r.at < len(r.text) {
		if c := r.text[r.at]; c == '.' || c == 'e' || c == 'E' {
			r.odd = true
		}
	}
	return string(r.text[start:r.at])
}

func (r *reader) signed() int64 {
	n, err := strconv.ParseInt(r.digits(), 10, 64)
	r.odd = r.odd || err != nil
	return n
}

func (r *reader) unsigned(bits int) uint64 {
	n, err := strconv.ParseUint(r.digits(), 10, bits)
	r.odd = r.odd || err != nil
	return n
}

// array reads a list whose items one reads. An empty one is no nil slice, as with encoding/json.
func array[T any](r *reader, one func() T) []T {
	out := []T{}
	r.between('[', ']', func() { out = append(out, one()) })
	return out
}

// words reads a list of strings.
func words[T ~string](r *reader) []T {
	out := []T{}
	r.between('[', ']', func() { out = append(out, T(r.str())) })
	return out
}

// dictionary reads an object of strings.
func (r *reader) dictionary() map[string]string {
	out := make(map[string]string)
	r.between('{', '}', func() {
		key := r.str()
		r.take(':')
		_, twice := out[key]
		r.odd = r.odd || twice
		out[key] = r.str()
	})
	return out
}

// value reads a value of a kind that is rare, by encoding/json.
func value[T any](r *reader) *T {
	out := new(T)
	text := r.raw()
	r.odd = r.odd || json.Unmarshal(text, out) != nil
	return out
}

// raw returns the text of the object or list that is next.
func (r *reader) raw() []byte {
	r.next()
	start, depth := r.at, 0
	for r.at < len(r.text) && !r.odd {
		switch r.text[r.at] {
		case '"':
			r.token()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if r.at++; depth == 0 {
			break
		}
	}
	r.odd = r.odd || depth != 0 || start == r.at || (r.text[start] != '{' && r.text[start] != '[')
	return r.text[min(start, len(r.text)):min(r.at, len(r.text))]
}

func pointer[T any](v T) *T { return &v }
