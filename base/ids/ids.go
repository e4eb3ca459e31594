// Package ids holds the parsed types of names and ids, so that no raw string from a client reaches a path join.
package ids

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/conex-containers/conex/base/errdefs"
)

// ID is a container, exec, network or task id: 1 to 128 characters of [A-Za-z0-9_.-] (plus '+' as runc allows),
// never "." or "..", so it is always one path element.
type ID string

// New returns a random id of 64 hexadecimal digits, as Docker gives its objects. Its first twelve digits are
// never all decimal, because a short id is also a host name and a number is not one.
func New() ID {
	var b [32]byte
	for {
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
		s := hex.EncodeToString(b[:])
		for _, c := range s[:12] {
			if c > '9' {
				return ID(s)
			}
		}
	}
}

// Parse checks s against the rule of ID.
func Parse(s string) (ID, error) {
	if s == "" || len(s) > 128 {
		return "", errdefs.InvalidArgument("id %q: must have 1 to 128 characters", s)
	}
	if s == "." || s == ".." {
		return "", errdefs.InvalidArgument("id %q is not allowed", s)
	}
	for _, c := range s {
		if !alnum(c) && c != '_' && c != '.' && c != '-' && c != '+' {
			return "", errdefs.InvalidArgument("id %q: only [a-zA-Z0-9_.+-] are allowed", s)
		}
	}
	return ID(s), nil
}

// Short returns the first twelve characters, the form that tables show.
func (id ID) Short() string {
	if len(id) > 12 {
		return string(id[:12])
	}
	return string(id)
}

func (id ID) String() string { return string(id) }

// CheckName checks a container, volume or network name by Docker's rule [a-zA-Z0-9][a-zA-Z0-9_.-]+; noun names
// the object in the error ("container name").
func CheckName(noun, s string) error {
	ok := len(s) >= 2
	for i, c := range s {
		ok = ok && (alnum(c) || (i > 0 && (c == '_' || c == '.' || c == '-')))
	}
	if !ok {
		return errdefs.InvalidArgument("invalid %s (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", noun, s)
	}
	return nil
}

func alnum(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
