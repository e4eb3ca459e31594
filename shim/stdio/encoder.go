package stdio

import (
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain marks the bytes that stand for themselves in a JSON string as Docker writes it: printable ASCII without the
// two of JSON and the three of HTML.
var plain = func() (t [256]bool) {
	for b := 0x20; b < utf8.RuneSelf; b++ {
		t[b] = b != '"' && b != '\\' && b != '<' && b != '>' && b != '&'
	}
	return t
}()

// appendEntry appends one line of Docker's json-file log:
//
//	{"log":"hello\n","stream":"stdout","attrs":{...},"time":"2024-05-06T07:08:09.123456789Z"}
//
// A whole line ends with \n inside the string; a part of a longer one does not. attrs is JSON, or empty.
func appendEntry(dst, line []byte, whole bool, stream string, attrs, stamp []byte) []byte {
	dst = append(dst, `{"log":"`...)
	dst = appendEscaped(dst, line)
	if whole {
		dst = append(dst, `\n`...)
	}
	dst = append(dst, `","stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, '"')
	if len(attrs) > 0 {
		dst = append(dst, `,"attrs":`...)
		dst = append(dst, attrs...)
	}
	dst = append(dst, `,"time":"`...)
	dst = append(dst, stamp...)
	return append(dst, '"', '}', '\n')
}

// appendEscaped appends the inside of a JSON string. Bytes that are no UTF-8 become U+FFFD, one for each.
func appendEscaped(dst, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if plain[b] {
			i++
			continue
		}
		if b < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			dst = appendControl(dst, b)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // line ends in JavaScript
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, s[start:]...)
}

func appendControl(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&0xf])
}

// appendStamp appends a time as every json-file line has it: RFC 3339 with nanoseconds, UTC.
func appendStamp(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, time.RFC3339Nano) }
