package docker

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
)

func (s *Server) containerCreate(ctx context.Context, w *reply, c *call) error {
	var body createBody
	if err := c.must(&body); err != nil {
		return err
	}
	req := body.request()
	if req.Config == nil {
		return errdefs.InvalidArgument("config cannot be empty in order to create a container")
	}
	warnings := compatCreate(c, &body, req)
	resp, err := s.Lifecycle.ContainerCreate(ctx, c.str("name"), c.str("platform"), req)
	if err != nil {
		return err
	}
	resp.Warnings = append(warnings, resp.Warnings...)
	if resp.Warnings == nil {
		resp.Warnings = []string{} // docker-java fails on null
	}
	return w.json(http.StatusCreated, resp)
}

func (s *Server) containerUpdate(ctx context.Context, w *reply, c *call) error {
	var cfg container.UpdateConfig
	if err := c.must(&cfg); err != nil {
		return err
	}
	compatUpdate(c, &cfg)
	resp, err := s.Changes.ContainerUpdate(ctx, c.id(), &cfg)
	if err != nil {
		return err
	}
	if resp.Warnings == nil {
		resp.Warnings = []string{}
	}
	return w.json(http.StatusOK, resp)
}
