package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// Import makes an image of one layer from the tar of a root file system, plain, gzip or zstd. ref may be "".
func (s *Service) Import(ctx context.Context, ns string, src io.Reader, ref string, o ImportOptions) (Image, error) {
	platform, err := ParsePlatform(o.Platform)
	if err != nil {
		return Image{}, err
	}
	names, err := importNames(ref)
	if err != nil {
		return Image{}, err
	}
	var img Image
	err = s.holding(ctx, ns, func(h *hold) error {
		file, err := s.ingest(ctx, h, "", -1, src, nil)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		b, err := s.Content.Reader(ctx, file.digest)
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		chain, err := s.applyLayer(ctx, h, alone, "", b)
		_ = b.Close()
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		now := time.Now().UTC()
		config := Config{Comment: o.Message, Image: ocispec.Image{
			Created: &now, Platform: platform, Config: o.Config,
			RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.Digest(chain)}},
			History: []ocispec.History{{Created: &now, Comment: o.Message}},
		}}
		layers := []ocispec.Descriptor{{MediaType: layerType(file.magic), Digest: file.digest, Size: file.size}}
		img, err = s.make(ctx, ns, h, config, layers, names)
		return err
	})
	if err == nil {
		s.Notify(ctx, ns, "import", img.Target.Digest.String(), ref)
	}
	return img, err
}

func importNames(ref string) ([]string, error) {
	if ref == "" {
		return nil, nil
	}
	r, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	if r.Digest != "" {
		return nil, errdefs.InvalidArgument("cannot import digest reference")
	}
	return []string{r.recordName()}, nil
}

// make stores config and manifest of layers that are in the store and unpacked, and writes the records.
func (s *Service) make(ctx context.Context, ns string, h *hold, config any, layers []ocispec.Descriptor, names []string) (Image, error) {
	raw, err := json.Marshal(config)
	if err != nil {
		return Image{}, err
	}
	if err := h.blobs(ctx, digestOf(raw)); err != nil {
		return Image{}, err
	}
	desc, err := s.Content.WriteBytes(ctx, ocispec.MediaTypeImageConfig, raw, nil)
	if err != nil {
		return Image{}, err
	}
	target, err := s.putManifest(ctx, h, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: desc, Layers: layers,
	})
	if err != nil {
		return Image{}, err
	}
	if err := s.settle(ctx, h, target, nil, nil); err != nil {
		return Image{}, err
	}
	made, err := s.point(ctx, ns, names, target)
	if err != nil {
		return Image{}, err
	}
	if len(made) == 0 { // it had a name already
		return Image{Header: metadata.Header{CreatedAt: time.Now().UTC()}, Target: target}, nil
	}
	return made[0], nil
}

// Tag makes target another name of source.
func (s *Service) Tag(ctx context.Context, ns, source, target string) error {
	ref, err := ParseReference(target)
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return errdefs.InvalidArgument("refusing to create a tag with a digest reference")
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return err
	}
	img, _, err := s.find(ctx, all, source)
	if err != nil {
		return err
	}
	return s.holding(ctx, ns, func(h *hold) error {
		if err := h.blobs(ctx, img.Target.Digest); err != nil {
			return err
		}
		if _, err := s.point(ctx, ns, []string{ref.recordName()}, img.Target); err != nil {
			return err
		}
		s.Notify(ctx, ns, "tag", img.Target.Digest.String(), ref.Familiar())
		return nil
	})
}
