package docker

import (
	"context"
	"net/http"

	"github.com/moby/moby/api/types/image"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func (s *Server) imageList(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(imageFilters)
	if err != nil {
		return err
	}
	compatImageFilter(c, f)
	list, err := s.Images.ImageList(ctx, docker.ImageListOptions{
		Filters: f, All: c.flag("all"), SharedSize: c.flag("shared-size") && !c.before(42),
		Manifests: c.flag("manifests") && !c.before(47), Identity: c.flag("identity") && !c.before(54),
	})
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, compatImages(c, list))
}

func (s *Server) imageInspect(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(49)
	if err != nil {
		return err
	}
	manifests := c.flag("manifests") && !c.before(48)
	if manifests && platform != "" {
		return errdefs.InvalidArgument("conflicting options: manifests and platform options cannot both be set")
	}
	info, err := s.Images.ImageInspect(ctx, c.id(), platform, manifests)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, compatImage(c, info))
}

func (s *Server) imageHistory(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(48)
	if err != nil {
		return err
	}
	items, err := s.Images.ImageHistory(ctx, c.id(), platform)
	if err != nil {
		return err
	}
	if items == nil {
		items = []image.HistoryResponseItem{}
	}
	return w.json(http.StatusOK, items)
}

func (s *Server) imageAttestations(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(55)
	if err != nil {
		return err
	}
	list, err := s.Images.ImageAttestations(ctx, c.id(), platform, c.values()["type"], c.flag("statement"))
	if err != nil {
		return err
	}
	if list == nil {
		list = []image.AttestationStatement{}
	}
	return w.json(http.StatusOK, list)
}

func (s *Server) imageTag(ctx context.Context, w *reply, c *call) error {
	if c.str("repo") == "" {
		return errdefs.InvalidArgument("parameter repo is missing: it names the repository of the new tag")
	}
	if err := s.Images.ImageTag(ctx, c.id(), c.str("repo"), c.str("tag")); err != nil {
		return err
	}
	return w.empty(http.StatusCreated)
}

func (s *Server) imageRemove(ctx context.Context, w *reply, c *call) error {
	only, err := c.platforms("platforms", 50)
	if err != nil {
		return err
	}
	list, err := s.Images.ImageRemove(ctx, c.id(), only, c.flag("force"), c.flag("noprune"))
	if err != nil {
		return err
	}
	if list == nil {
		list = []image.DeleteResponse{}
	}
	return w.json(http.StatusOK, list)
}

func (s *Server) imagesPrune(ctx context.Context, w *reply, c *call) error {
	f, err := c.filters(imagePrune)
	if err != nil {
		return err
	}
	report, err := s.Images.ImagesPrune(ctx, f)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}
