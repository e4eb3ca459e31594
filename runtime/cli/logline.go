package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
)

// lineHandler writes log lines in the two forms of runc's logger, which managers take apart:
//
//	time="2006-01-02T15:04:05Z" level=error msg="what happened" key=value
//	{"level":"error","msg":"what happened","time":"2006-01-02T15:04:05Z"}
type lineHandler struct {
	mu    sync.Mutex
	w     io.Writer
	level slog.Level
	json  bool
	runc  bool // debug lines in runc's words
	attrs []slog.Attr
	group string
}

// Enabled is slog.Handler's.
func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle writes a whole line by one call.
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	if h.runc {
		r.Message = runcMessage(r)
	}
	attrs := append([]slog.Attr(nil), h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, h.named(a))
		return true
	})
	line, err := textLine(r, attrs), error(nil)
	if h.json {
		line, err = jsonLine(r, attrs)
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err = h.w.Write(line)
	return err
}

func (h *lineHandler) named(a slog.Attr) slog.Attr {
	a.Key = h.group + a.Key
	return a
}

// WithAttrs is slog.Handler's.
func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := &lineHandler{w: h.w, level: h.level, json: h.json, runc: h.runc, group: h.group, attrs: append([]slog.Attr(nil), h.attrs...)}
	for _, a := range attrs {
		n.attrs = append(n.attrs, h.named(a))
	}
	return n
}

// WithGroup is slog.Handler's.
func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{w: h.w, level: h.level, json: h.json, runc: h.runc, attrs: h.attrs, group: h.group + name + "."}
}

// levelName is logrus' word, which readers of a runtime's log compare with.
func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

func textLine(r slog.Record, attrs []slog.Attr) []byte {
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "time=%q level=%s msg=%q", r.Time.Format(time.RFC3339), levelName(r.Level), r.Message)
	for _, a := range attrs {
		value := a.Value.Resolve().String()
		if value == "" || strings.ContainsAny(value, " \t\n\"=") {
			value = strconv.Quote(value)
		}
		_, _ = fmt.Fprintf(&b, " %s=%s", a.Key, value)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

func jsonLine(r slog.Record, attrs []slog.Attr) ([]byte, error) {
	fields := make(map[string]any, len(attrs)+3)
	for _, a := range attrs {
		switch v := a.Value.Resolve().Any().(type) {
		case error:
			fields[a.Key] = v.Error()
		default:
			fields[a.Key] = v
		}
	}
	fields["time"], fields["level"], fields["msg"] = r.Time.Format(time.RFC3339), levelName(r.Level), r.Message
	line, err := json.Marshal(fields)
	return append(line, '\n'), err
}
