package stdio

import (
	"bytes"
	"testing"
)

// slowScan is the plain meaning of the scanner: everything before the first occurrence of keys.
func slowScan(keys, all []byte) ([]byte, bool) {
	if i := bytes.Index(all, keys); i >= 0 {
		return all[:i], true
	}
	return all, false
}

func FuzzDetach(f *testing.F) {
	f.Add([]byte{16, 17}, []byte{'a', 16, 'b', 16, 16, 17, 'c'}, uint8(3))
	f.Add([]byte("aab"), []byte("aaaaab"), uint8(1))
	f.Add([]byte("abab"), []byte("abaabab"), uint8(2))
	f.Fuzz(func(t *testing.T, keys, all []byte, step uint8) {
		if len(keys) == 0 {
			return
		}
		d := &detachScanner{keys: keys}
		var got []byte
		detached := false
		for rest := all; len(rest) > 0 && !detached; {
			n := min(int(step)+1, len(rest))
			var out []byte
			out, detached = d.scan(rest[:n])
			got = append(got, out...)
			rest = rest[n:]
		}
		if !detached {
			got = append(got, d.rest()...)
		}
		want, wantDetached := slowScan(keys, all)
		if !bytes.Equal(got, want) || detached != wantDetached {
			t.Fatalf("keys %q in %q: got %q %v, want %q %v", keys, all, got, detached, want, wantDetached)
		}
	})
}
