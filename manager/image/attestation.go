package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/registry"
)

// BuildKit puts what attests a platform's manifest into the same index, as a manifest of its own whose layers are
// in-toto statements (BuildKit, docs/attestations/attestation-storage.md).
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationManifest       = "attestation-manifest"
	mediaTypeInToto           = "application/vnd.in-toto+json"
	annotationPredicate       = "in-toto.io/predicate-type"
	maxStatement              = 32 << 20
)

// Statement is one in-toto statement about an image.
type Statement struct {
	Descriptor ocispec.Descriptor
	Predicate  string          // type URI
	Body       json.RawMessage // nil unless it was asked for
}

// Attestations lists the statements about one platform ("" this machine's) of an image: of the predicate types named
// or of all, with their bodies on demand. An image without any has none; NotFound when they were not brought along.
func (s *Service) Attestations(ctx context.Context, ns, ref, platform string, predicates []string, bodies bool) ([]Statement, error) {
	d, err := s.GetFor(ctx, ns, ref, platform)
	if err != nil {
		return nil, err
	}
	data, err := s.Content.ReadAll(ctx, d.Target.Digest, registry.MaxManifest)
	if err != nil {
		return nil, err
	}
	if mt, err := registry.DocumentType(data, d.Target.MediaType); err != nil || !registry.IsIndex(mt) {
		return nil, err
	}
	entries, err := indexEntries(d.Target, data)
	if err != nil {
		return nil, err
	}
	var out []Statement
	for _, e := range entries {
		if e.Annotations[annotationReferenceType] != attestationManifest || e.Annotations[annotationReferenceDigest] != d.Manifest.Digest.String() {
			continue
		}
		found, err := s.statements(ctx, e, predicates, bodies)
		if errdefs.IsNotFound(err) {
			return nil, errdefs.NotFound("image %s: its attestations are not here: only the image itself was pulled", ref)
		}
		if err != nil {
			return nil, fmt.Errorf("image %s: attestations: %w", ref, err)
		}
		out = append(out, found...)
	}
	return out, nil
}

func (s *Service) statements(ctx context.Context, target ocispec.Descriptor, predicates []string, bodies bool) ([]Statement, error) {
	data, err := s.Content.ReadAll(ctx, target.Digest, registry.MaxManifest)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, errdefs.InvalidArgument("manifest %s: %w", target.Digest, err)
	}
	var out []Statement
	for _, l := range m.Layers {
		st := Statement{Descriptor: l, Predicate: l.Annotations[annotationPredicate]}
		if l.MediaType != mediaTypeInToto || len(predicates) > 0 && !slices.Contains(predicates, st.Predicate) {
			continue
		}
		if err := checkDescriptor(l); err != nil {
			return nil, err
		}
		if bodies {
			body, err := s.Content.ReadAll(ctx, l.Digest, maxStatement)
			if err != nil {
				return nil, err
			}
			if !json.Valid(body) {
				return nil, errdefs.InvalidArgument("statement %s is no JSON document", l.Digest)
			}
			st.Body = body
		}
		out = append(out, st)
	}
	return out, nil
}
