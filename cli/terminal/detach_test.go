package terminal

import (
	"errors"
	"io"
	"testing"
)

// chunks reads as a terminal does: a few keys at a time.
type chunks []string

func (c *chunks) Read(b []byte) (int, error) {
	if len(*c) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*c)[0])
	*c = (*c)[1:]
	return n, nil
}

func TestProxy(t *testing.T) {
	for _, c := range []struct {
		in       chunks
		want     string
		detached bool
	}{
		{chunks{"abc"}, "abc", false},
		{chunks{"a\x10\x11b"}, "a", true},
		{chunks{"\x10", "\x11"}, "", true},
		{chunks{"\x10", "x"}, "\x10x", false},
		{chunks{"\x10\x10\x11"}, "\x10", true},
		{chunks{"\x10"}, "\x10", false},
		{chunks{"a\x10", "\x10b\x10", "c"}, "a\x10\x10b\x10c", false},
	} {
		in := append(chunks(nil), c.in...)
		got, err := io.ReadAll(NewProxy(&in, []byte{16, 17}))
		if string(got) != c.want || errors.Is(err, ErrDetached) != c.detached {
			t.Errorf("%q: %q %v", c.in, got, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	for in, want := range map[string]string{"ctrl-p,ctrl-q": "\x10\x11", "a,ctrl-@,ctrl-[,ctrl-_": "a\x00\x1b\x1f", "ctrl-\\": "\x1c", "ctrl-]": "\x1d", "ctrl-^": "\x1e"} {
		if got, err := ParseKeys(in); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"", "ctrl-", "ctrl-A", "ab", "ctrl-pp", "a,"} {
		if got, err := ParseKeys(in); err == nil {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// FuzzProxy: without the whole sequence in it, the input comes out as it went in, however it was cut.
func FuzzProxy(f *testing.F) {
	f.Add([]byte("ab\x10c"), 2)
	f.Add([]byte("\x10\x10\x11"), 1)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 1 || cut > 64 {
			cut = 1
		}
		var parts chunks
		for i := 0; i < len(in); i += cut {
			parts = append(parts, string(in[i:min(i+cut, len(in))]))
		}
		whole := in
		detach := false
		for i := 0; i+1 < len(in); i++ {
			if in[i] == 16 && in[i+1] == 17 {
				whole, detach = in[:i], true
				break
			}
		}
		got, err := io.ReadAll(NewProxy(&parts, []byte{16, 17}))
		if string(got) != string(whole) || errors.Is(err, ErrDetached) != detach {
			t.Fatalf("%q cut %d: %q %v, want %q", in, cut, got, err, whole)
		}
	})
}
