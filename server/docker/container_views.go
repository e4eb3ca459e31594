package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func (s *Server) containerList(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(containerFilters)
	if err != nil {
		return err
	}
	o := docker.ListOptions{All: c.flag("all"), Size: c.flag("size"), Filters: f}
	limit, err := c.integer("limit")
	if err != nil {
		return err
	}
	if limit != nil {
		o.Limit = *limit
	}
	for _, key := range [...]string{"before", "since"} { // their form as parameters is older than filters
		if v := c.str(key); v != "" {
			f[key] = map[string]bool{v: true}
		}
	}
	list, err := s.Views.ContainerList(ctx, o)
	if err != nil {
		return err
	}
	if list == nil {
		list = []container.Summary{}
	}
	return w.json(http.StatusOK, list)
}

func (s *Server) containerInspect(ctx context.Context, w *reply, c *call) error {
	info, err := s.Views.ContainerInspect(ctx, c.id(), c.flag("size"))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, compatInspect(c, info))
}

// containerExplain answers with what the kernel holds for a running container.
func (s *Server) containerExplain(ctx context.Context, w *reply, c *call) error {
	explanation, err := s.Views.ContainerExplain(ctx, c.id())
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, explanation)
}

func (s *Server) containerTop(ctx context.Context, w *reply, c *call) error {
	top, err := s.Views.ContainerTop(ctx, c.id(), c.str("ps_args"))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, top)
}

func (s *Server) containerLogs(ctx context.Context, w *reply, c *call) error {
	o := docker.LogsOptions{
		Stdout: c.flag("stdout"), Stderr: c.flag("stderr"), Follow: c.flag("follow"),
		Timestamps: c.flag("timestamps"), Details: c.flag("details"), Tail: -1,
	}
	if !o.Stdout && !o.Stderr {
		return errdefs.InvalidArgument("Bad parameters: you must choose at least one stream")
	}
	var err error
	if o.Since, err = c.instant("since"); err != nil {
		return err
	}
	if o.Until, err = c.instant("until"); err != nil {
		return err
	}
	if tail, err := strconv.Atoi(c.str("tail")); err == nil && tail >= 0 { // "all" and nonsense alike are all, as with Docker
		o.Tail = tail
	}
	lines, tty, err := s.Views.ContainerLogs(ctx, c.id(), o)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = lines.Close() })
	defer func() {
		stop()
		_ = lines.Close()
	}()
	w.Header().Set("Content-Type", streamType(c, tty))
	w.Flush() // a follower of a silent container wants its answer now
	return copyLog(&logWriter{w: w, raw: tty, timestamps: o.Timestamps, details: o.Details}, lines, o.Follow)
}

// containerStats streams the samples, which the engine takes once a second, or sends one document: a sample with the one of a second before in
// precpu_stats, or (one-shot) without it.
func (s *Server) containerStats(ctx context.Context, w *reply, c *call) error {
	stream := c.flagOr("stream", true)
	oneShot := !c.before(41) && c.flag("one-shot")
	if stream && oneShot {
		return errdefs.InvalidArgument("cannot have stream=true and one-shot=true")
	}
	next, err := s.Views.ContainerStats(ctx, c.id(), oneShot)
	if err != nil {
		return err
	}
	if !stream {
		sample, err := next(ctx)
		if err != nil {
			return err
		}
		return w.json(http.StatusOK, compatStats(c, sample))
	}
	w.Header()["Content-Type"] = contentJSON
	w.Flush()
	enc := json.NewEncoder(w)
	for {
		sample, err := next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil || errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if enc.Encode(compatStats(c, sample)) != nil {
			return nil // the client went away
		}
		w.Flush()
	}
}

// writeLine encodes v as the last document of an answer whose headers are already out.
func writeLine(w *reply, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
