package terminal

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrDetached ends a Proxy's reading: the user typed the key sequence.
var ErrDetached = errors.New("read escape sequence")

// DefaultKeys are ctrl-p ctrl-q.
const DefaultKeys = "ctrl-p,ctrl-q"

// ParseKeys reads a key sequence: comma-separated single characters and ctrl-<a-z@^[,_\]>.
func ParseKeys(s string) ([]byte, error) {
	var out []byte
	for _, k := range strings.Split(s, ",") {
		c, isCtrl := strings.CutPrefix(k, "ctrl-")
		switch {
		case !isCtrl && len(k) == 1:
			out = append(out, k[0])
		case isCtrl && len(c) == 1 && c[0] >= 'a' && c[0] <= 'z':
			out = append(out, c[0]-'a'+1)
		case isCtrl && len(c) == 1 && strings.ContainsAny(c, `@[\]^_`):
			out = append(out, c[0]-'@')
		default:
			return nil, fmt.Errorf("unknown character: '%s'", k)
		}
	}
	return out, nil
}

// Proxy passes what r reads through, until the key sequence comes: then it returns ErrDetached. Keys that only began
// the sequence are passed on with the key that broke it.
type Proxy struct {
	r    io.Reader
	keys []byte
	seen int    // how many keys of the sequence were typed
	rest []byte // keys of an abandoned beginning, not passed on yet
}

// NewProxy wraps r.
func NewProxy(r io.Reader, keys []byte) *Proxy { return &Proxy{r: r, keys: keys} }

// Read implements io.Reader. It may return 0 bytes and no error while a sequence is under way.
func (p *Proxy) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	n, err := p.r.Read(b)
	if len(p.keys) == 0 || n == 0 {
		if err != nil && p.seen > 0 { // the input ended inside a sequence: the keys were meant
			m := copy(b, p.keys[:p.seen])
			p.seen = 0
			return m, nil
		}
		return n, err
	}
	var out []byte
	for _, c := range b[:n] {
		if c != p.keys[p.seen] && p.seen > 0 {
			out = append(out, p.keys[:p.seen]...)
			p.seen = 0
		}
		if c != p.keys[p.seen] {
			out = append(out, c)
			continue
		}
		if p.seen++; p.seen == len(p.keys) {
			p.seen = 0
			return copy(b, out), ErrDetached
		}
	}
	m := copy(b, out)
	p.rest = append(p.rest, out[m:]...)
	return m, err
}
