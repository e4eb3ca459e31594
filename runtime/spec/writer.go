package spec

import (
	"encoding/json"
	"strconv"
)

// Writer appends JSON to Text: what is written at every start, without the reflection of encoding/json, whose types
// a program that lives for milliseconds would learn anew each time. The caller keeps brackets in pairs.
type Writer struct{ Text []byte }

// Open begins an object ('{') or a list ('[').
func (w *Writer) Open(c byte) { w.Text = append(w.Text, c) }

// Shut ends it.
func (w *Writer) Shut(c byte) { w.Text = append(w.Text, c) }

// Item puts the comma before everything that is not the first of its list.
func (w *Writer) Item() *Writer {
	if n := len(w.Text); n > 0 && w.Text[n-1] != '{' && w.Text[n-1] != '[' {
		w.Text = append(w.Text, ',')
	}
	return w
}

// Key begins a member of an object.
func (w *Writer) Key(name string) *Writer {
	w.Item().Str(name)
	w.Text = append(w.Text, ':')
	return w
}

// Raw writes text that is JSON already.
func (w *Writer) Raw(text []byte) { w.Text = append(w.Text, text...) }

// True writes true.
func (w *Writer) True() { w.Text = append(w.Text, "true"...) }

// Number writes n.
func (w *Writer) Number(n int64) { w.Text = strconv.AppendInt(w.Text, n, 10) }

// Unsigned writes n.
func (w *Writer) Unsigned(n uint64) { w.Text = strconv.AppendUint(w.Text, n, 10) }

// Str writes a string; one with bytes that may need an escape goes through encoding/json.
func (w *Writer) Str(s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, _ := json.Marshal(s) // every string can be written
			w.Text = append(w.Text, b...)
			return
		}
	}
	w.Text = append(append(append(w.Text, '"'), s...), '"')
}

// Word is a string that is left out when it is empty.
func (w *Writer) Word(name, s string) {
	if s != "" {
		w.Key(name).Str(s)
	}
}

// Words is a list that is left out when it is empty.
func (w *Writer) Words(name string, list []string) {
	if len(list) == 0 {
		return
	}
	w.Key(name).Open('[')
	for _, s := range list {
		w.Item().Str(s)
	}
	w.Shut(']')
}
