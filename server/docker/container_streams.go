package docker

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func (s *Server) containerAttach(ctx context.Context, w *reply, c *call) error {
	o := docker.AttachOptions{
		Stdin: c.flag("stdin"), Stdout: c.flag("stdout"), Stderr: c.flag("stderr"),
		Stream: c.flag("stream"), Logs: c.flag("logs"), DetachKeys: c.str("detachKeys"),
	}
	return s.Streams.ContainerAttach(ctx, c.id(), o, c.hijacker(w))
}

func (s *Server) containerResize(ctx context.Context, w *reply, c *call) error {
	h, wd, err := size(c)
	if err != nil {
		return err
	}
	if err := s.Streams.ContainerResize(ctx, c.id(), h, wd); err != nil {
		return err
	}
	return w.empty(http.StatusOK)
}

func size(c *call) (height, width uint16, err error) {
	if height, err = c.dimension("h"); err != nil {
		return 0, 0, err
	}
	width, err = c.dimension("w")
	return height, width, err
}

func (s *Server) execCreate(ctx context.Context, w *reply, c *call) error {
	var req container.ExecCreateRequest
	if err := c.must(&req); err != nil {
		return err
	}
	if len(req.Cmd) == 0 {
		return errdefs.InvalidArgument("no exec command specified")
	}
	if c.before(42) {
		req.ConsoleSize = nil
	}
	id, err := s.Streams.ExecCreate(ctx, c.id(), &req)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, container.ExecCreateResponse{ID: id})
}

func (s *Server) execStart(ctx context.Context, w *reply, c *call) error {
	var req container.ExecStartRequest
	if _, err := c.decode(&req); err != nil {
		return err
	}
	if req.ConsoleSize != nil && (c.before(42) || !req.Tty) {
		req.ConsoleSize = nil
	}
	if err := s.Streams.ExecStart(ctx, c.id(), &req, c.hijacker(w)); err != nil || w.hijacked {
		return err
	}
	return w.empty(http.StatusOK)
}

func (s *Server) execResize(ctx context.Context, w *reply, c *call) error {
	h, wd, err := size(c)
	if err != nil {
		return err
	}
	if err := s.Streams.ExecResize(ctx, c.id(), h, wd); err != nil {
		return err
	}
	return w.empty(http.StatusOK)
}

func (s *Server) execInspect(ctx context.Context, w *reply, c *call) error {
	info, err := s.Streams.ExecInspect(ctx, c.id())
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, info)
}
