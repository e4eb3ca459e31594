package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// logFile is where and how the program logs. Managers read the last line of level "error" from --log (containerd),
// or everything from stderr (conmon).
type logFile struct {
	path, format, level string
	debug               bool
	stderr              io.Writer
}

func (l *logFile) open() (context.Context, error) {
	var w io.Writer = l.stderr
	if l.path != "" {
		f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		w = f
	}
	level, err := logging.ParseLevel(l.level)
	if err != nil {
		return nil, err
	}
	if l.debug {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: lowerLevel}
	var h slog.Handler
	switch l.format {
	case "json":
		h = slog.NewJSONHandler(w, opts)
	case "text", "":
		h = slog.NewTextHandler(w, opts)
	default:
		return nil, errdefs.InvalidArgument("invalid log-format: %s", l.format)
	}
	return logging.Into(context.Background(), slog.New(h)), nil
}

// lowerLevel writes levels as logrus did, which is what readers of a runtime's log compare with.
func lowerLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		return slog.String(slog.LevelKey, strings.ToLower(strings.Replace(a.Value.String(), "WARN", "WARNING", 1)))
	}
	return a
}
