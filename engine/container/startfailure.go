package container

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// startError brings what the task service tells into the words that Docker's clients know: the CLI makes its exit
// codes 126 and 127 of them.
func startError(err error) error {
	if c := errdefs.Of(err); c == errdefs.ErrInternal || c == errdefs.ErrNotFound {
		err = errdefs.With(errdefs.ErrInvalidArgument, err)
	}
	if text := err.Error(); strings.Contains(text, startCause) {
		err = brief{text[strings.Index(text, startCause):], err}
	}
	return fmt.Errorf("failed to create task for container: %w", err)
}

// startCause begins the part of a runtime's error that says why a process did not start, in runc's words.
const startCause = "unable to start container process"

// brief shows only the end of a long chain: what user and scripts need of it.
type brief struct {
	text string
	err  error
}

func (b brief) Error() string { return b.text }
func (b brief) Unwrap() error { return b.err }

// startExitCode is what a container that could not be started exits with, as dockerd decides by the text.
func startExitCode(err error) int {
	text := err.Error()
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	switch {
	case errors.Is(err, syscall.ENOENT) || has("executable file not found", "no such file or directory"):
		return 127
	case errors.Is(err, syscall.EACCES) || has("permission denied", "is a directory", "not a directory"):
		return 126
	}
	return 128
}

// afterFailedStart keeps the error in the record, and removes an `--rm` container.
func (s *Service) afterFailedStart(ctx context.Context, c *Container, cause error) {
	c.mu.Lock()
	restarting := c.state == types.StateRestarting
	c.rec.Error, c.rec.ExitCode = cause.Error(), startExitCode(cause)
	c.rec.ShouldRun, c.rec.FinishedAt = false, time.Now().UTC()
	if c.state = types.StateCreated; c.rec.HasStarted {
		c.state = types.StateExited
	}
	c.run = running{}
	rec := c.rec
	c.mu.Unlock()
	logging.From(ctx).Warn("container did not start", "op", "start", "err", cause)
	if err := s.forgetRun(ctx, rec.ID); err != nil {
		logging.From(ctx).Error("container record", "op", "start", "err", err)
	}
	if restarting { // whoever waits for the next exit goes on waiting when there was no run
		c.tell(false)
	}
	if rec.HostConfig.AutoRemove {
		s.autoRemove(ctx, c)
		return
	}
	if err := s.save(ctx, &rec); err != nil {
		logging.From(ctx).Error("container record", "op", "start", "err", err)
	}
}
