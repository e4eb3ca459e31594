package image

import (
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// attested puts the sample's manifest into an index together with two statements about it, as BuildKit does.
func (s *sample) attested(t *testing.T) {
	t.Helper()
	const slsa, spdx = "https://slsa.dev/provenance/v1", "https://spdx.dev/Document"
	var layers []ocispec.Descriptor
	for _, kind := range []string{slsa, spdx} {
		l := s.add(mediaTypeInToto, []byte(`{"predicateType":"`+kind+`"}`))
		l.Annotations = map[string]string{annotationPredicate: kind}
		layers = append(layers, l)
	}
	versioned := specs.Versioned{SchemaVersion: 2}
	config := s.add(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`))
	about := s.add(ocispec.MediaTypeImageManifest, mustJSON(t, ocispec.Manifest{Versioned: versioned, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}))
	about.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	about.Annotations = map[string]string{annotationReferenceType: attestationManifest, annotationReferenceDigest: s.manifest.Digest.String()}
	platform := hostPlatform()
	s.manifest.Platform = &platform
	s.manifest = s.add(ocispec.MediaTypeImageIndex, mustJSON(t, ocispec.Index{
		Versioned: versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{s.manifest, about},
	}))
}

func TestAttestations(t *testing.T) {
	s := newService(t)
	load := func(im *sample, name string) {
		t.Helper()
		if _, err := s.Load(t.Context(), ns, bytes.NewReader(im.layout(t, name)), LoadOptions{Quiet: true}); err != nil {
			t.Fatal(err)
		}
	}
	im := newSample(t, 1, 100, 90)
	im.attested(t)
	load(im, "docker.io/library/attested:1")
	load(newSample(t, 1, 100, 91), "docker.io/library/bare:1")
	all, err := s.Attestations(t.Context(), ns, "attested:1", "", nil, false)
	if err != nil || len(all) != 2 || all[0].Body != nil {
		t.Fatalf("%+v %v", all, err)
	}
	one, err := s.Attestations(t.Context(), ns, "attested:1", "", []string{all[1].Predicate}, true)
	if err != nil || len(one) != 1 || one[0].Predicate != "https://spdx.dev/Document" || digest.FromBytes(one[0].Body) != all[1].Descriptor.Digest {
		t.Errorf("%+v %v", one, err)
	}
	if none, err := s.Attestations(t.Context(), ns, "bare:1", "", nil, true); err != nil || len(none) != 0 {
		t.Errorf("%+v %v", none, err)
	}
	if _, err := s.Attestations(t.Context(), ns, "attested:1", "plan9/mips", nil, false); !errdefs.IsNotFound(err) {
		t.Errorf("another platform: %v", err)
	}
}
