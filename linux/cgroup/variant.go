package cgroup

import (
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// parseVariant reads the part of GVariant's text format that properties of units need: true, false, 'text', "text", numbers (int32,
// double with a point), a number with its type in front ("uint64 5"), and lists of texts (['a', 'b']).
func parseVariant(s string) (any, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, errdefs.InvalidArgument("no value")
	}
	switch {
	case s == "true" || s == "false":
		return s == "true", nil
	case s[0] == '\'' || s[0] == '"':
		text, rest, err := quoted(s)
		if err == nil && rest != "" {
			err = errdefs.InvalidArgument("%q after the value", rest)
		}
		return text, err
	case s[0] == '[':
		return texts(s)
	}
	if kind, number, ok := strings.Cut(s, " "); ok {
		return typed(strings.TrimPrefix(kind, "@"), strings.TrimSpace(number))
	}
	if strings.ContainsAny(s, ".eE") && !strings.HasPrefix(s, "0x") {
		return strconv.ParseFloat(s, 64)
	}
	n, err := strconv.ParseInt(s, 0, 32)
	return int32(n), err
}

func typed(kind, s string) (any, error) {
	switch kind {
	case "byte", "y":
		n, err := strconv.ParseUint(s, 0, 8)
		return byte(n), err
	case "int32", "i":
		n, err := strconv.ParseInt(s, 0, 32)
		return int32(n), err
	case "uint32", "u":
		n, err := strconv.ParseUint(s, 0, 32)
		return uint32(n), err
	case "int64", "x":
		n, err := strconv.ParseInt(s, 0, 64)
		return n, err
	case "uint64", "t":
		n, err := strconv.ParseUint(s, 0, 64)
		return n, err
	case "double", "d":
		return strconv.ParseFloat(s, 64)
	case "as":
		return texts(s)
	case "s":
		return parseVariant(s)
	}
	return nil, errdefs.InvalidArgument("type %q is not supported", kind)
}

// quoted reads a text in quotes; a backslash takes the next character as it stands.
func quoted(s string) (text, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), strings.TrimSpace(s[i+1:]), nil
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errdefs.InvalidArgument("%s: the quote is not closed", s)
}

func texts(s string) ([]string, error) {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok || !strings.HasSuffix(inner, "]") {
		return nil, errdefs.InvalidArgument("%s is no list", s)
	}
	inner = strings.TrimSpace(strings.TrimSuffix(inner, "]"))
	out := []string{}
	for inner != "" {
		if inner[0] != '\'' && inner[0] != '"' {
			return nil, errdefs.InvalidArgument("%s: only lists of texts are supported", s)
		}
		text, rest, err := quoted(inner)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
		more, comma := strings.CutPrefix(rest, ",")
		if rest != "" && !comma {
			return nil, errdefs.InvalidArgument("%s: a comma is missing", s)
		}
		inner = strings.TrimSpace(more)
	}
	return out, nil
}
