package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// pathStatHeader carries a container.PathStat, as JSON in base64.
const pathStatHeader = "X-Docker-Container-Path-Stat"

var contentTar = []string{"application/x-tar"}

func putPathStat(w *reply, st container.PathStat) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	w.Header()[pathStatHeader] = []string{base64.StdEncoding.EncodeToString(data)}
	return nil
}

// archivePath is the query parameter path, which is needed.
func archivePath(c *call) (string, error) {
	path := c.str("path")
	if path == "" {
		return "", errdefs.InvalidArgument("bad parameter: 'path' cannot be empty")
	}
	return path, nil
}

func (s *Server) containerStatPath(ctx context.Context, w *reply, c *call) error {
	path, err := archivePath(c)
	if err != nil {
		return err
	}
	st, err := s.Archives.ContainerStatPath(ctx, c.id(), path)
	if err != nil {
		return err
	}
	if err := putPathStat(w, st); err != nil {
		return err
	}
	return w.empty(http.StatusOK)
}

func (s *Server) containerArchive(ctx context.Context, w *reply, c *call) error {
	path, err := archivePath(c)
	if err != nil {
		return err
	}
	var headerErr error
	err = s.Archives.ContainerArchive(ctx, c.id(), path, func(st container.PathStat) io.Writer {
		headerErr = putPathStat(w, st)
		w.Header()["Content-Type"] = contentTar
		return w
	})
	if err == nil {
		err = headerErr
	}
	return broken(ctx, w, c, err)
}

func (s *Server) containerExtract(ctx context.Context, w *reply, c *call) error {
	path, err := archivePath(c)
	if err != nil {
		return err
	}
	if err := s.Archives.ContainerExtract(ctx, c.id(), path, c.flag("noOverwriteDirNonDir"), c.flag("copyUIDGID"), c.Body); err != nil {
		return err
	}
	return w.empty(http.StatusOK)
}

func (s *Server) containerExport(ctx context.Context, w *reply, c *call) error {
	err := s.Archives.ContainerExport(ctx, c.id(), func() io.Writer {
		w.Header()["Content-Type"] = []string{"application/octet-stream"}
		return w
	})
	return broken(ctx, w, c, err)
}

// broken ends an archive that went wrong on its way: a connection that breaks tells what a short archive would hide.
func broken(ctx context.Context, w *reply, c *call, err error) error {
	if err != nil && w.status != 0 {
		logging.From(ctx).Error("archive", "container", c.id(), "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

func (s *Server) containerChanges(ctx context.Context, w *reply, c *call) error {
	changes, err := s.Archives.ContainerChanges(ctx, c.id())
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, changes)
}

func (s *Server) containerCommit(ctx context.Context, w *reply, c *call) error {
	ref := c.str("container")
	if ref == "" {
		return errdefs.InvalidArgument("parameter container is missing: it names the container to commit")
	}
	o := docker.Commit{
		Author: c.str("author"), Comment: c.str("comment"), Pause: c.flagOr("pause", true), Changes: c.values()["changes"],
	}
	if repo := c.str("repo"); repo != "" {
		o.Ref = joinTag(repo, c.str("tag"))
	}
	var config container.Config
	given, err := c.decode(&config)
	if err != nil {
		return err
	}
	if given {
		o.Config = &config
	}
	id, err := s.Archives.ContainerCommit(ctx, ref, o)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, container.CommitResponse{ID: id})
}
