package docker

import (
	"context"
	"net/http"
	"strconv"

	"github.com/conex-containers/conex/api/docker"
)

// imageRaw answers with the manifest or index as it is stored, so that its digest is the image's.
func (s *Server) imageRaw(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(first)
	if err != nil {
		return err
	}
	mediaType, data, err := s.Layers.ImageRaw(ctx, c.id(), platform)
	if err != nil {
		return err
	}
	w.document(mediaType, data)
	return nil
}

// document answers with bytes as they are.
func (w *reply) document(mediaType string, data []byte) {
	h := w.Header()
	h["Content-Type"] = []string{mediaType}
	h["Content-Length"] = []string{strconv.Itoa(len(data))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(data) // a client that went away is no error of ours
}

// imageSBOM answers with an SPDX document.
func (s *Server) imageSBOM(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(first)
	if err != nil {
		return err
	}
	data, err := s.Layers.ImageSBOM(ctx, c.id(), platform)
	if err != nil {
		return err
	}
	w.document("application/spdx+json", data)
	return nil
}

func (s *Server) imageTree(ctx context.Context, w *reply, c *call) error {
	tree, err := s.Layers.ImageTree(ctx, c.id())
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, tree)
}

func (s *Server) imageFiles(ctx context.Context, w *reply, c *call) error {
	platform, err := c.platform(first)
	if err != nil {
		return err
	}
	layer, err := c.integer("layer")
	if err != nil {
		return err
	}
	if layer == nil {
		layer = new(int)
	}
	files, err := s.Layers.ImageFiles(ctx, c.id(), platform, *layer)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, files)
}

func (s *Server) imageVerify(ctx context.Context, w *reply, c *call) error {
	report, err := s.Layers.ImageVerify(ctx, c.id(), docker.ImageVerify{Repair: c.flag("repair"), Key: c.str("key")}, requestAuth(ctx, c))
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, report)
}
