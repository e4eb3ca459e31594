package image

import (
	"context"
	"io"

	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/manager/image"
)

// Copier copies images as they are (manager/image).
type Copier interface {
	Copy(ctx context.Context, ns string, o image.CopyOptions) (digest.Digest, error)
}

// ImageCopy brings an image from one place to another as it is. archive is what a source that is one is read from,
// begin gives what a target that is one is written to.
func (s *Service) ImageCopy(ctx context.Context, o docker.Copy, source, target registry.AuthConfig, archive io.Reader, begin func() io.Writer, progress docker.ProgressFunc) error {
	_, err := s.cfg.Copier.Copy(ctx, s.cfg.Namespace, image.CopyOptions{
		Copy: o, SourceAuth: authOf(source), TargetAuth: authOf(target), Archive: archive, Out: begin, Progress: progressOf(progress),
	})
	return err
}
