package docker

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/errdefs"
)

func (s *Server) networkList(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(networkFilters)
	if err != nil {
		return err
	}
	list, err := s.Networks.NetworkList(ctx, f)
	if err != nil {
		return err
	}
	if list == nil {
		list = []network.Summary{}
	}
	return w.json(http.StatusOK, list)
}

func (s *Server) networkInspect(ctx context.Context, w *reply, c *call) error {
	n, err := s.Networks.NetworkInspect(ctx, c.id())
	if err != nil {
		return err
	}
	if scope := c.str("scope"); scope != "" && scope != n.Scope {
		return errdefs.NotFound("network %s not found", c.id())
	}
	if n.Containers == nil {
		n.Containers = map[string]network.EndpointResource{}
	}
	if c.before(52) {
		n.Status = nil
	}
	return w.json(http.StatusOK, n)
}

func (s *Server) networkCreate(ctx context.Context, w *reply, c *call) error {
	var req network.CreateRequest
	if err := c.must(&req); err != nil {
		return err
	}
	if req.Name == "" {
		return errdefs.InvalidArgument("network name is empty: field Name must be set")
	}
	resp, err := s.Networks.NetworkCreate(ctx, req)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, resp)
}

func (s *Server) networkRemove(ctx context.Context, w *reply, c *call) error {
	return done(w, s.Networks.NetworkRemove(ctx, c.id()))
}

func (s *Server) networkConnect(ctx context.Context, w *reply, c *call) error {
	var req network.ConnectRequest
	if err := c.must(&req); err != nil {
		return err
	}
	if req.Container == "" {
		return errdefs.InvalidArgument("container is empty: field Container must be set")
	}
	if err := s.Networks.NetworkConnect(ctx, c.id(), req); err != nil {
		return err
	}
	return w.empty(http.StatusOK)
}

func (s *Server) networkDisconnect(ctx context.Context, w *reply, c *call) error {
	var req network.DisconnectRequest
	if err := c.must(&req); err != nil {
		return err
	}
	if req.Container == "" {
		return errdefs.InvalidArgument("container is empty: field Container must be set")
	}
	if err := s.Networks.NetworkDisconnect(ctx, c.id(), req); err != nil {
		return err
	}
	return w.empty(http.StatusOK)
}

func (s *Server) networksPrune(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(pruneFilters)
	if err != nil {
		return err
	}
	report, err := s.Networks.NetworksPrune(ctx, f)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}
