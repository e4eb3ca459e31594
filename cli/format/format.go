// Package format prints lists as Docker's tables, templates and JSON lines, and documents through templates: what
// --format, --quiet and --no-trunc mean.
package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"text/template"
)

// Table says how a kind of row is printed. A row is a value with one exported method per column.
type Table struct {
	Headers map[string]string // method -> column title
	Default string            // the template of the plain table
	Quiet   string            // the template of --quiet
}

// List prints rows by format: "" and "table" the default table, "table TEMPLATE", "json", "raw" or a template that is
// run once per row.
func List[R any](w io.Writer, t Table, format string, quiet bool, rows []R) error {
	format = t.resolve(format, quiet)
	text, table := strings.CutPrefix(format, "table")
	tmpl, err := parse(unescape(strings.Trim(text, " ")))
	if err != nil {
		return fmt.Errorf("failed to parse template: %w", err)
	}
	if !table {
		return each(w, tmpl, rows)
	}
	var body bytes.Buffer
	if err := each(&body, tmpl, rows); err != nil {
		return err
	}
	var out bytes.Buffer // tabwriter writes each cell by itself: a system call, and a wake-up of who reads
	tw := tabwriter.NewWriter(&out, 10, 1, 3, ' ', 0)
	head, err := tmpl.Clone()
	if err != nil {
		return err
	}
	if err := head.Funcs(headerFuncs()).Execute(tw, headers(t.Headers)); err != nil {
		return fmt.Errorf("failed to execute template: %w", err)
	}
	if _, err := tw.Write(append([]byte("\n"), body.Bytes()...)); err != nil {
		return err
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err = w.Write(out.Bytes())
	return err
}

func (t Table) resolve(format string, quiet bool) string {
	switch {
	case quiet && (format == "" || format == "table"):
		return t.Quiet
	case format == "" || format == "table":
		return "table " + t.Default
	case format == "json" || format == "{{json .}}":
		return "{{json .}}"
	}
	return format
}

func unescape(s string) string { return strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(s) }

func each[R any](w io.Writer, tmpl *template.Template, rows []R) error {
	var buf bytes.Buffer
	for _, r := range rows {
		if err := tmpl.Execute(&buf, r); err != nil {
			return fmt.Errorf("failed to execute template: %w", err)
		}
		buf.WriteByte('\n')
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// headers answers the template of a table with the columns' titles.
type headers map[string]string

// Label is the title of a column of one label: {{.Label "com.example.stage"}} is STAGE-like, as Docker does.
func (h headers) Label(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	return strings.NewReplacer("-", " ", "_", " ").Replace(name)
}

// Parse parses a template with Docker's functions.
func Parse(text string) (*template.Template, error) {
	t, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return t, nil
}

func parse(text string) (*template.Template, error) {
	return template.New("").Funcs(funcs()).Parse(text)
}

func funcs() template.FuncMap {
	return template.FuncMap{
		"json":     func(v any) (string, error) { return toJSON(v, nil) },
		"split":    strings.Split,
		"join":     join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// headerFuncs leave a column's title as it is.
func headerFuncs() template.FuncMap {
	same := func(v string) string { return v }
	return template.FuncMap{
		"json": same, "title": same, "lower": same, "upper": same,
		"split":    func(v, _ string) string { return v },
		"join":     func(v, _ string) string { return v },
		"truncate": func(v string, _ int) string { return v },
		"pad":      func(v string, _, _ int) string { return v },
	}
}

// toJSON encodes a row by its columns, a part of a document (see Document) as the engine sent it, else v as it is.
func toJSON(v any, d *document) (string, error) {
	if raw, ok := d.original(v); ok {
		return raw, nil
	}
	if m, ok := columns(v); ok { // rows escape <, > and &, other values do not: so does Docker
		b, err := json.Marshal(m)
		return string(b), err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(buf.String(), "\n"), nil
}

// columns calls every exported method without arguments of a row of this package.
func columns(v any) (map[string]any, bool) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() || rv.NumMethod() == 0 || rv.Type().PkgPath() != reflect.TypeFor[Table]().PkgPath() {
		return nil, false
	}
	m := map[string]any{}
	for i := range rv.NumMethod() {
		if f := rv.Method(i); f.Type().NumIn() == 0 && f.Type().NumOut() == 1 {
			m[rv.Type().Method(i).Name] = f.Call(nil)[0].Interface()
		}
	}
	return m, len(m) > 0
}

func join(v any, sep string) (string, error) {
	switch s := v.(type) {
	case []string:
		return strings.Join(s, sep), nil
	case []any:
		parts := make([]string, len(s))
		for i, e := range s {
			parts[i] = fmt.Sprint(e)
		}
		return strings.Join(parts, sep), nil
	case nil:
		return "", nil
	}
	return "", errors.New("join: a list of strings is needed")
}

func title(s string) string {
	if s == "" {
		return ""
	}
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, " ")
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(before, 0)) + s + strings.Repeat(" ", max(after, 0))
}

func truncate(s string, n int) string {
	if n >= 0 && len(s) > n {
		return s[:n]
	}
	return s
}

// Ellipsis shortens s to n characters, the last of which is then an ellipsis.
func Ellipsis(s string, n int) string {
	r := []rune(s)
	if len(r) <= n || n <= 0 {
		return s
	}
	if n == 1 {
		return string(r[:1])
	}
	return string(r[:n-1]) + "…"
}

// ShortID is the form of an id that tables show: twelve digits, without the algorithm.
func ShortID(id string) string {
	if _, hex, ok := strings.Cut(id, ":"); ok {
		id = hex
	}
	if len(id) > 12 {
		id = id[:12]
	}
	return id
}
