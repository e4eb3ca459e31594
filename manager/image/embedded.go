package image

import (
	"context"
	"errors"
	"fmt"

	"github.com/conex-containers/conex/manager/image/hello"
)

// LoadHello loads the image that is embedded in this binary, for a `run hello` on a machine without a registry.
// FailedPrecondition when the binary was built without it.
func (s *Service) LoadHello(ctx context.Context, ns string) (Image, error) {
	f, err := hello.Open()
	if err != nil {
		return Image{}, err
	}
	made, err := s.Load(ctx, ns, f, LoadOptions{Quiet: true, embedded: true})
	if err = errors.Join(err, f.Close()); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", hello.Reference, err)
	}
	return made[0], nil
}

// IsHello reports whether ref names the embedded image.
func IsHello(ref string) bool {
	r, err := ParseReference(ref)
	return err == nil && r.WithDefaultTag().Familiar() == hello.Reference
}

// pullEmbedded is the pull of the embedded image: no registry is asked.
func (s *Service) pullEmbedded(ctx context.Context, ns string, ref Reference, rep *reporter) (Image, error) {
	img, err := s.LoadHello(ctx, ns)
	if err != nil {
		return Image{}, err
	}
	rep.status("", "Digest: "+img.Target.Digest.String())
	rep.status("", "Status: Loaded the image "+ref.Familiar()+" that is part of Conex")
	return img, nil
}
