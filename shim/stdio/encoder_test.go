package stdio

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

type entry struct {
	Log    string            `json:"log"`
	Stream string            `json:"stream"`
	Attrs  map[string]string `json:"attrs"`
	Time   time.Time         `json:"time"`
}

// asDocker is what a reader gets of bytes that were logged: invalid ones have become U+FFFD, one each.
func asDocker(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		b.WriteRune(r)
		s = s[size:]
	}
	return b.String()
}

func FuzzEntry(f *testing.F) {
	for _, s := range []string{"", "hello", "a\tb\r\"\\<>&\x00\x1f\x7f", "é\u2028\u2029\xff\xc3", "\xed\xa0\x80"} {
		f.Add(s, true)
	}
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	f.Fuzz(func(t *testing.T, line string, whole bool) {
		line = strings.ReplaceAll(line, "\n", "")
		raw := appendEntry(nil, []byte(line), whole, "stderr", []byte(`{"k":"v"}`), appendStamp(nil, at))
		if raw[len(raw)-1] != '\n' || strings.Count(string(raw), "\n") != 1 {
			t.Fatalf("not one line: %q", raw)
		}
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		want := asDocker(line)
		if whole {
			want += "\n"
		}
		if e.Log != want || e.Stream != "stderr" || e.Attrs["k"] != "v" || !e.Time.Equal(at) {
			t.Fatalf("%q became %+v", line, e)
		}
	})
}

func TestEntryIsDockersBytes(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 120000000, time.FixedZone("x", 3600))
	got := string(appendEntry(nil, []byte("a\t<b>\x01\xff\"\r"), true, "stdout", nil, appendStamp(nil, at)))
	want := `{"log":"a\u0009\u003cb\u003e\u0001\ufffd\"\r\n","stream":"stdout","time":"2024-05-06T06:08:09.12Z"}` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func BenchmarkEntry(b *testing.B) {
	line := []byte(strings.Repeat("a usual line of a log, with \"quotes\" ", 3))
	stamp := appendStamp(nil, time.Now())
	var dst []byte
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		dst = appendEntry(dst[:0], line, true, "stdout", nil, stamp)
	}
}
