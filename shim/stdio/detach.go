package stdio

import "bytes"

// detachScanner finds the sequence of keys that ends an attached session, as Docker's clients configure it (default
// ctrl-p,ctrl-q). Keys that may begin the sequence are held back until the next ones decide.
type detachScanner struct {
	keys    []byte
	matched int // how many of keys have been held back
}

// scan returns the bytes of p (with those held back before) that are for the process, and whether the whole sequence
// has come; bytes behind it are dropped.
func (d *detachScanner) scan(p []byte) ([]byte, bool) {
	if d.matched == 0 && bytes.IndexByte(p, d.keys[0]) < 0 {
		return p, false
	}
	out := make([]byte, 0, d.matched+len(p))
	for _, b := range p {
		for d.matched > 0 && b != d.keys[d.matched] {
			out = d.fallBack(out)
		}
		if b != d.keys[d.matched] {
			out = append(out, b)
			continue
		}
		d.matched++
		if d.matched == len(d.keys) {
			d.matched = 0
			return out, true
		}
	}
	return out, false
}

// fallBack releases the fewest held keys so that what stays held is again a beginning of the sequence.
func (d *detachScanner) fallBack(out []byte) []byte {
	held := d.keys[:d.matched]
	for n := 1; n <= len(held); n++ {
		if bytes.HasPrefix(d.keys, held[n:]) {
			d.matched = len(held) - n
			return append(out, held[:n]...)
		}
	}
	return out
}

// rest returns the keys that are held back, when no more will come.
func (d *detachScanner) rest() []byte {
	held := d.keys[:d.matched]
	d.matched = 0
	return held
}
