package image

import (
	"context"

	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/manager/image"
)

// Layers tells what images are made of (manager/image).
type Layers interface {
	Raw(ctx context.Context, ns, ref, platform string) (ocispec.Descriptor, []byte, error)
	Tree(ctx context.Context, ns, ref string) (docker.ImageTree, error)
	Files(ctx context.Context, ns, ref, platform string, layer int) (docker.ImageFiles, error)
	SBOM(ctx context.Context, ns, ref, platform string) ([]byte, error)
	Verify(ctx context.Context, ns, ref string, o image.VerifyOptions) (docker.ImageVerification, error)
}

// ImageRaw returns an image's manifest or index as it is stored, with its media type.
func (s *Service) ImageRaw(ctx context.Context, ref, platform string) (string, []byte, error) {
	desc, data, err := s.cfg.Layers.Raw(ctx, s.cfg.Namespace, ref, platform)
	return desc.MediaType, data, err
}

// ImageTree lists the layers of one image, or of all, and what they share.
func (s *Service) ImageTree(ctx context.Context, ref string) (docker.ImageTree, error) {
	return s.cfg.Layers.Tree(ctx, s.cfg.Namespace, ref)
}

// ImageFiles tells what each layer of an image did to the files.
func (s *Service) ImageFiles(ctx context.Context, ref, platform string, layer int) (docker.ImageFiles, error) {
	return s.cfg.Layers.Files(ctx, s.cfg.Namespace, ref, platform, layer)
}

// ImageSBOM lists the software in an image, as an SPDX document.
func (s *Service) ImageSBOM(ctx context.Context, ref, platform string) ([]byte, error) {
	return s.cfg.Layers.SBOM(ctx, s.cfg.Namespace, ref, platform)
}

// ImageVerify compares all that is stored of an image with its digests, and the image with the policy or a key.
func (s *Service) ImageVerify(ctx context.Context, ref string, o docker.ImageVerify, auth registry.AuthConfig) (docker.ImageVerification, error) {
	opt := image.VerifyOptions{Repair: o.Repair, Auth: authOf(auth)}
	if o.Key != "" {
		opt.Key = []byte(o.Key)
	}
	return s.cfg.Layers.Verify(ctx, s.cfg.Namespace, ref, opt)
}
