package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// Documents prints what `inspect` found: with no format one indented JSON array, else the template's output, a line
// per document. typed returns an empty value of a document's Go type, for templates that use its field names (.ID)
// where the JSON has others (.Id).
func Documents(w io.Writer, format string, docs []json.RawMessage, typed func(i int) any) error {
	if format == "" {
		return indented(w, docs)
	}
	if format == "json" {
		return compact(w, docs)
	}
	var out bytes.Buffer
	for i, raw := range docs {
		line, err := render(format, raw)
		if err != nil {
			v := typed(i)
			if v == nil || json.Unmarshal(raw, v) != nil {
				return failedLine(w, out.Bytes(), err)
			}
			t, perr := Parse(unescape(format))
			if perr != nil {
				return perr
			}
			var b strings.Builder
			if t.Execute(&b, v) != nil {
				return failedLine(w, out.Bytes(), err) // of the document itself: its words are the engine's
			}
			line = b.String()
		}
		out.WriteString(line + "\n")
	}
	_, err := w.Write(out.Bytes())
	return err
}

// failedLine prints what came before the failure, with the line feed that Docker ends even nothing with.
func failedLine(w io.Writer, done []byte, err error) error {
	if len(done) == 0 {
		done = []byte("\n")
	}
	_, _ = w.Write(done)
	return err
}

func indented(w io.Writer, docs []json.RawMessage) error {
	if len(docs) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	var all, out bytes.Buffer
	all.WriteByte('[')
	for i, d := range docs {
		if i > 0 {
			all.WriteByte(',')
		}
		all.Write(bytes.TrimSpace(d))
	}
	all.WriteByte(']')
	if err := json.Indent(&out, all.Bytes(), "", "    "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}

func compact(w io.Writer, docs []json.RawMessage) error {
	for _, d := range docs {
		var out bytes.Buffer
		if err := json.Compact(&out, d); err != nil {
			return err
		}
		out.WriteByte('\n')
		if _, err := w.Write(out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// render runs a template over a JSON document. Empty strings stay empty strings (a typed address would print
// "invalid IP" and be true), and {{json .Part}} gives the engine's own bytes with its order of keys.
func render(format string, raw json.RawMessage) (string, error) {
	d := &document{raw: map[uintptr]json.RawMessage{}}
	v, err := d.decode(raw)
	if err != nil {
		return "", err
	}
	t, err := Parse(unescape(format))
	if err != nil {
		return "", err
	}
	fs := funcs()
	fs["json"] = func(v any) (string, error) { return toJSON(v, d) }
	var b strings.Builder
	if err := t.Option("missingkey=error").Funcs(fs).Execute(&b, v); err != nil {
		return "", fmt.Errorf("template parsing error: %w", err)
	}
	return b.String(), nil
}

// document remembers the bytes that each decoded object and list came from.
type document struct{ raw map[uintptr]json.RawMessage }

func (d *document) original(v any) (string, bool) {
	if d == nil {
		return "", false
	}
	switch v.(type) {
	case map[string]any, []any:
	default:
		return "", false
	}
	raw, ok := d.raw[reflect.ValueOf(v).Pointer()]
	if !ok {
		return "", false
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return "", false
	}
	return b.String(), true
}

func (d *document) decode(raw json.RawMessage) (any, error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) > 0 && raw[0] == '{':
		return d.object(raw)
	case len(raw) > 0 && raw[0] == '[':
		return d.list(raw)
	case len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'):
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return n, nil
		}
	}
	var v any
	err := json.Unmarshal(raw, &v)
	return v, err
}

func (d *document) object(raw json.RawMessage) (any, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return nil, err
	}
	m := make(map[string]any, len(parts))
	for k, p := range parts {
		v, err := d.decode(p)
		if err != nil {
			return nil, err
		}
		m[k] = v
	}
	d.raw[reflect.ValueOf(m).Pointer()] = raw
	return m, nil
}

func (d *document) list(raw json.RawMessage) (any, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return nil, err
	}
	l := make([]any, len(parts))
	for i, p := range parts {
		v, err := d.decode(p)
		if err != nil {
			return nil, err
		}
		l[i] = v
	}
	if len(l) > 0 { // all empty slices share one address
		d.raw[reflect.ValueOf(l).Pointer()] = raw
	}
	return l, nil
}
