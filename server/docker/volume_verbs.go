package docker

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/base/errdefs"
)

func (s *Server) volumeList(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(volumeFilters)
	if err != nil {
		return err
	}
	list, err := s.Volumes.VolumeList(ctx, f)
	if err != nil {
		return err
	}
	if list.Volumes == nil {
		list.Volumes = []volume.Volume{}
	}
	return w.json(http.StatusOK, list)
}

func (s *Server) volumeInspect(ctx context.Context, w *reply, c *call) error {
	v, err := s.Volumes.VolumeInspect(ctx, c.id())
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, v)
}

func (s *Server) volumeCreate(ctx context.Context, w *reply, c *call) error {
	var req volume.CreateRequest
	if _, err := c.decode(&req); err != nil { // an empty body asks for an anonymous volume
		return err
	}
	if req.ClusterVolumeSpec != nil {
		return errdefs.Unavailable("%s", notManager)
	}
	v, err := s.Volumes.VolumeCreate(ctx, req)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, v)
}

func (s *Server) volumeRemove(ctx context.Context, w *reply, c *call) error {
	return done(w, s.Volumes.VolumeRemove(ctx, c.id(), c.flag("force")))
}

func (s *Server) volumesPrune(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(volumePrune)
	if err != nil {
		return err
	}
	compatVolumesPrune(c, f)
	report, err := s.Volumes.VolumesPrune(ctx, f)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}
