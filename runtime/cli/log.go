package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// logFile is where and how the program logs. Managers read the last line of level "error" from --log (containerd),
// or everything from stderr (conmon).
type logFile struct {
	path, format, level string
	debug               bool
	stderr              io.Writer
	runc                bool // debug lines in runc's words
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
	h := &lineHandler{w: w, level: level, runc: l.runc}
	switch l.format {
	case "json":
		h.json = true
	case "text", "":
	default:
		return nil, errdefs.InvalidArgument("invalid log-format: %s", l.format)
	}
	return logging.Into(context.Background(), slog.New(h)), nil
}
