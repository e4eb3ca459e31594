package image

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/manager/registry"
)

// Raw returns the bytes that an image's digest names, its manifest or index, with their media type. With a platform
// they are that platform's manifest.
func (s *Service) Raw(ctx context.Context, ns, refOrID, platform string) (ocispec.Descriptor, []byte, error) {
	all, err := s.records(ctx, ns)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	img, _, err := s.find(ctx, all, refOrID)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc := img.Target
	if platform != "" {
		d, err := s.GetFor(ctx, ns, refOrID, platform)
		if err != nil {
			return ocispec.Descriptor{}, nil, err
		}
		desc = d.Manifest
	}
	data, err := s.Content.ReadAll(ctx, desc.Digest, registry.MaxManifest)
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("image %s: %w", img.Name, err)
	}
	if desc.MediaType, err = registry.DocumentType(data, desc.MediaType); err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("image %s: %w", img.Name, err)
	}
	return desc, data, nil
}
