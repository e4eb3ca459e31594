package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/registry"
)

// Distribution asks a registry what a name stands for there: the descriptor of its manifest or index, and the
// platforms of it. Nothing is kept.
func (s *Service) Distribution(ctx context.Context, name string, auth Auth) (ocispec.Descriptor, []ocispec.Platform, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	ref = ref.WithDefaultTag()
	repo := s.repository(ref, auth)
	desc, data, err := repo.Manifest(ctx, ref.remote())
	if err != nil {
		return desc, nil, pullError(ref, err)
	}
	desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}
	if registry.IsIndex(desc.MediaType) {
		var index ocispec.Index
		if err := json.Unmarshal(data, &index); err != nil {
			return desc, nil, errdefs.InvalidArgument("index of %s: %w", ref.Familiar(), err)
		}
		platforms := []ocispec.Platform{}
		for _, m := range index.Manifests {
			if m.Platform != nil {
				platforms = append(platforms, *m.Platform)
			}
		}
		return desc, platforms, nil
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return desc, nil, errdefs.InvalidArgument("manifest of %s: %w", ref.Familiar(), err)
	}
	config, err := readPlatform(ctx, repo, manifest.Config)
	if err != nil {
		return desc, nil, fmt.Errorf("configuration of %s: %w", ref.Familiar(), err)
	}
	return desc, []ocispec.Platform{config}, nil
}

// readPlatform fetches an image's configuration for the platform that it names.
func readPlatform(ctx context.Context, repo *registry.Repository, desc ocispec.Descriptor) (p ocispec.Platform, err error) {
	blob, err := repo.Blob(ctx, desc, 0)
	if err != nil {
		return p, err
	}
	defer func() { _ = blob.Close() }()
	data, err := io.ReadAll(io.LimitReader(blob, registry.MaxManifest))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, errdefs.InvalidArgument("%w", err)
	}
	return p, nil
}
