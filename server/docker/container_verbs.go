package docker

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// done answers 204 or the error.
func done(w *reply, err error) error {
	if err != nil {
		return err
	}
	return w.empty(http.StatusNoContent)
}

func (s *Server) containerStart(ctx context.Context, w *reply, c *call) error {
	if c.ContentLength > 7 { // "{}\n" and "null" of old clients pass, as with Docker
		return errdefs.InvalidArgument("starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24")
	}
	if c.str("checkpoint") != "" {
		return errdefs.NotImplemented("starting a container from a checkpoint is not implemented")
	}
	return done(w, s.Lifecycle.ContainerStart(ctx, c.id()))
}

func (s *Server) containerStop(ctx context.Context, w *reply, c *call) error {
	timeout, err := c.integer("t")
	if err != nil {
		return err
	}
	return done(w, s.Lifecycle.ContainerStop(ctx, c.id(), compatStopSignal(c), timeout))
}

func (s *Server) containerRestart(ctx context.Context, w *reply, c *call) error {
	timeout, err := c.integer("t")
	if err != nil {
		return err
	}
	return done(w, s.Lifecycle.ContainerRestart(ctx, c.id(), compatStopSignal(c), timeout))
}

func (s *Server) containerKill(ctx context.Context, w *reply, c *call) error {
	return done(w, s.Lifecycle.ContainerKill(ctx, c.id(), c.str("signal")))
}

func (s *Server) containerPause(ctx context.Context, w *reply, c *call) error {
	return done(w, s.Lifecycle.ContainerPause(ctx, c.id()))
}

func (s *Server) containerUnpause(ctx context.Context, w *reply, c *call) error {
	return done(w, s.Lifecycle.ContainerUnpause(ctx, c.id()))
}

func (s *Server) containerRemove(ctx context.Context, w *reply, c *call) error {
	if c.flag("link") {
		return done(w, s.Changes.ContainerUnlink(ctx, c.id()))
	}
	return done(w, s.Lifecycle.ContainerRemove(ctx, c.id(), c.flag("force"), c.flag("v")))
}

// containerUnlink removes PARENT/ALIAS, the only thing of two elements that can be removed.
func (s *Server) containerUnlink(ctx context.Context, w *reply, c *call) error {
	ref := c.vars[0] + "/" + c.vars[1]
	if !c.flag("link") {
		return errdefs.NotFound("No such container: %s", ref)
	}
	return done(w, s.Changes.ContainerUnlink(ctx, ref))
}

// containerPorts publishes ports of a container and withdraws others.
func (s *Server) containerPorts(ctx context.Context, w *reply, c *call) error {
	var change docker.PortChange
	if err := c.must(&change); err != nil {
		return err
	}
	return done(w, s.Changes.ContainerPorts(ctx, c.id(), change))
}

func (s *Server) containerRename(ctx context.Context, w *reply, c *call) error {
	return done(w, s.Changes.ContainerRename(ctx, c.id(), c.str("name")))
}

func (s *Server) containersPrune(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(pruneFilters)
	if err != nil {
		return err
	}
	report, err := s.Changes.ContainersPrune(ctx, f)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}

// containerWait flushes the headers as soon as the wait is registered: a client reads that as its leave to start
// the container, whose end it could otherwise miss.
func (s *Server) containerWait(ctx context.Context, w *reply, c *call) error {
	cond, err := waitCondition(c)
	if err != nil {
		return err
	}
	result, err := s.Changes.ContainerWait(ctx, c.id(), cond)
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = contentJSON
	if !c.before(30) {
		w.Flush()
	}
	res := result()
	if ctx.Err() != nil {
		return nil // the client went away
	}
	return writeLine(w, res)
}

func waitCondition(c *call) (container.WaitCondition, error) {
	if c.before(30) {
		return container.WaitConditionNotRunning, nil
	}
	switch cond := container.WaitCondition(c.str("condition")); cond {
	case "":
		return container.WaitConditionNotRunning, nil
	case container.WaitConditionNotRunning, container.WaitConditionNextExit, container.WaitConditionRemoved:
		return cond, nil
	default:
		return "", errdefs.InvalidArgument("invalid condition: %q", string(cond))
	}
}
