package container

import (
	"context"
	"encoding/json"
	"maps"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	engineimage "github.com/conex-containers/conex/engine/image"
	"github.com/conex-containers/conex/manager/image"
)

// Committer makes images of containers (manager/image).
type Committer interface {
	Commit(ctx context.Context, ns string, o image.CommitOptions) (image.Image, error)
}

// ContainerCommit makes an image of a container's image and its changes, without its volumes, and returns its id.
func (s *Service) ContainerCommit(ctx context.Context, ref string, o docker.Commit) (string, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return "", err
	}
	delta, err := engineimage.ParseChanges(o.Changes)
	if err != nil {
		return "", err
	}
	if err := c.op.lockContext(ctx); err != nil {
		return "", err
	}
	defer c.op.unlock()
	v := c.view()
	if c.isRemoving() {
		return "", errdefs.Conflict("container %s is marked for removal", v.ID)
	}
	config, err := json.Marshal(commitConfig(v.Config, o.Config, delta))
	if err != nil {
		return "", err
	}
	parent, err := s.cfg.Images.Get(ctx, s.cfg.Namespace, v.ImageID)
	if err != nil {
		return "", err
	}
	if o.Pause && v.State == types.StateRunning {
		if err := s.cfg.Tasks.Pause(ctx, s.cfg.Namespace, v.ID); err != nil {
			return "", err
		}
		defer func() { _ = s.cfg.Tasks.Resume(context.WithoutCancel(ctx), s.cfg.Namespace, v.ID) }()
	}
	img, err := s.cfg.Committer.Commit(ctx, s.cfg.Namespace, image.CommitOptions{
		Parent: parent, Snapshot: v.ID, Config: config, Ref: o.Ref, Author: o.Author, Message: o.Comment,
		Command: strings.Join(append([]string{v.Path}, v.Args...), " "), Own: v.ownPath,
	})
	if err != nil {
		return "", err
	}
	id := img.Target.Digest.String()
	s.publish(&v.Record, events.ActionCommit, "comment", o.Comment, "imageID", id, "imageRef", o.Ref)
	return id, nil
}

// commitConfig is the new image's configuration: the container's, under what the request says, under its changes.
func commitConfig(own, asked *types.Config, delta ocispec.ImageConfig) dockerspec.DockerOCIImageConfig {
	out := imageConfigOf(own)
	if asked != nil {
		overlayConfig(&out, imageConfigOf(asked))
	}
	overlayConfig(&out, dockerspec.DockerOCIImageConfig{ImageConfig: delta})
	return out
}

func imageConfigOf(c *types.Config) dockerspec.DockerOCIImageConfig {
	out := dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir,
			Volumes: maps.Clone(c.Volumes), Labels: maps.Clone(c.Labels), StopSignal: c.StopSignal,
		},
		DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{
			OnBuild: c.OnBuild, Shell: c.Shell, Healthcheck: (*dockerspec.HealthcheckConfig)(c.Healthcheck),
		},
	}
	for p := range c.ExposedPorts {
		if out.ExposedPorts == nil {
			out.ExposedPorts = map[string]struct{}{}
		}
		out.ExposedPorts[p.String()] = struct{}{}
	}
	return out
}

// overlayConfig lets what top says win.
func overlayConfig(c *dockerspec.DockerOCIImageConfig, top dockerspec.DockerOCIImageConfig) {
	if top.User != "" {
		c.User = top.User
	}
	if top.WorkingDir != "" {
		c.WorkingDir = top.WorkingDir
	}
	if top.StopSignal != "" {
		c.StopSignal = top.StopSignal
	}
	if len(top.Entrypoint) > 0 {
		c.Entrypoint = top.Entrypoint
	}
	if len(top.Cmd) > 0 {
		c.Cmd = top.Cmd
	}
	if top.Healthcheck != nil {
		c.Healthcheck = top.Healthcheck
	}
	if len(top.Shell) > 0 {
		c.Shell = top.Shell
	}
	c.OnBuild = append(c.OnBuild, top.OnBuild...)
	c.Env = append(missing(top.Env, c.Env), top.Env...)
	c.ExposedPorts = union(c.ExposedPorts, top.ExposedPorts)
	c.Volumes = union(c.Volumes, top.Volumes)
	c.Labels = union(c.Labels, top.Labels)
}

func union[V any](a, b map[string]V) map[string]V {
	if len(a) == 0 {
		return b
	}
	maps.Copy(a, b)
	return a
}
