// Package logging carries one log/slog logger in the context, with the fixed keys container, task, image,
// network, op and err: one line per change of state.
package logging

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

type key struct{}

// Into returns ctx carrying log.
func Into(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, key{}, log)
}

// From returns the context's logger, or slog's default.
func From(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(key{}).(*slog.Logger); ok {
		return log
	}
	return slog.Default()
}

// With returns ctx whose logger also writes the given key-value pairs.
func With(ctx context.Context, args ...any) context.Context {
	return Into(ctx, From(ctx).With(args...))
}

// New returns a logger that writes text or, with json, JSON lines of at least the given level to w.
func New(w io.Writer, level slog.Level, json bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if json {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// ParseLevel reads dockerd's level names: debug, info, warn, error, fatal.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug", "trace":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "fatal", "panic":
		return slog.LevelError, nil
	}
	return 0, errdefs.InvalidArgument("log level %q is not known: use debug, info, warn, error or fatal", s)
}
