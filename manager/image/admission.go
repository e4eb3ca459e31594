package image

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/policy"
	"github.com/conex-containers/conex/manager/registry"
)

// Admission decides which images may come in (manager/policy).
type Admission interface {
	// Admit returns why an image may not come in, nil when it may, and the rule that says so, "" when there is none.
	Admit(ctx context.Context, i policy.Image, signatures policy.Signatures) (rule string, err error)
	// Signed returns why an image has no signature of a key (a PEM file's content).
	Signed(ctx context.Context, i policy.Image, key []byte, signatures policy.Signatures) error
}

// PolicyReference reads a reference for the policy.
func PolicyReference(s string) (policy.Reference, error) {
	ref, err := ParseReference(s)
	return policy.Reference{Name: ref.Name(), Tag: ref.Tag, Digest: ref.Digest}, err
}

// fromRegistry is an image that a reference has led to. passed are the documents from the target down to the manifest
// that is used: each was compared with its digest, so that who vouches for one of them vouches for the layers.
func fromRegistry(ref Reference, target ocispec.Descriptor, passed []ocispec.Descriptor) policy.Image {
	i := policy.Image{
		Transport: policy.Registry, Target: target, Digests: []digest.Digest{target.Digest},
		Reference: policy.Reference{Name: ref.Name(), Tag: ref.Tag, Digest: ref.Digest},
	}
	for _, d := range passed {
		if d.Digest != target.Digest {
			i.Digests = append(i.Digests, d.Digest)
		}
	}
	return i
}

func (s *Service) admit(ctx context.Context, i policy.Image, signatures policy.Signatures) error {
	if s.Admission == nil {
		return nil
	}
	_, err := s.Admission.Admit(ctx, i, signatures)
	return err
}

// admitArchived is admit for an image of an archive. The embedded image is part of this program.
func (s *Service) admitArchived(ctx context.Context, a *archive, target ocispec.Descriptor) error {
	if a.embedded {
		return nil
	}
	transport := policy.DockerArchive
	if _, ok := a.documents[fileManifest]; !ok {
		transport = policy.OCIArchive
	}
	return s.admit(ctx, policy.Image{Transport: transport, Target: target, Digests: []digest.Digest{target.Digest}}, nil)
}

// admissions asks what today's policy says of an image, for each repository that it came from; with a key, whether it
// is signed there. An image that was named and came from nowhere is looked for where its name says.
func (s *Service) admissions(ctx context.Context, img Image, byName bool, o VerifyOptions) ([]docker.ImageAdmission, error) {
	if s.Admission == nil {
		return nil, nil
	}
	named, err := ParseReference(img.Name)
	if err != nil {
		return nil, err
	}
	refs := []Reference{}
	for _, source := range s.Sources(ctx, img.Target.Digest) {
		ref, err := ParseReference(source)
		if err != nil {
			continue
		}
		if ref.Digest = img.Target.Digest; ref.Name() == named.Name() && named.Tag != "" {
			ref = named
		}
		refs = append(refs, ref)
	}
	if len(refs) == 0 && o.Key != nil && byName {
		refs = append(refs, named)
	}
	if len(refs) == 0 && o.Key != nil {
		return []docker.ImageAdmission{{Reference: img.Name, Problem: "no registry is known that has its signatures"}}, nil
	}
	_, passed, err := readDocument(ctx, stored{s.Content}, img.Target, hostPlatform())
	if err != nil {
		passed = nil // what is damaged was said; the target's own digest is known
	}
	var out []docker.ImageAdmission
	for _, ref := range refs {
		i, signatures := fromRegistry(ref, img.Target, passed), s.signatures(s.repository(ref, o.Auth))
		one := docker.ImageAdmission{Reference: ref.Familiar()}
		if o.Key != nil {
			one.Rule, err = "the key", s.Admission.Signed(ctx, i, o.Key, signatures)
		} else {
			one.Rule, err = s.Admission.Admit(ctx, i, signatures)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			one.Problem = err.Error()
		}
		if one.Rule != "" {
			out = append(out, one)
		}
	}
	return out, nil
}

// maxSignatures bounds the manifests with signatures of one digest that are looked at.
const maxSignatures = 50

// signatures reads what signs a digest in a repository: cosign's tag, and the manifests that refer to it.
func (s *Service) signatures(repo *registry.Repository) policy.Signatures {
	return func(ctx context.Context, d digest.Digest) ([]policy.Signature, error) {
		out, err := signaturesAt(ctx, repo, companionTag(d)+".sig")
		if err != nil {
			return nil, err
		}
		list, err := repo.Referrers(ctx, d, policy.ArtifactSignature)
		if err != nil && len(out) == 0 {
			return nil, err // with one by tag, that one is to be good
		}
		for n, desc := range list {
			if n == maxSignatures {
				break
			}
			more, err := signaturesAt(ctx, repo, desc.Digest.String())
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
		return out, nil
	}
}

// signaturesAt reads the signatures of one manifest: each layer is a payload, its annotation the signature over it.
func signaturesAt(ctx context.Context, repo *registry.Repository, name string) ([]policy.Signature, error) {
	desc, data, err := repo.Manifest(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if !registry.IsManifest(desc.MediaType) || json.Unmarshal(data, &m) != nil {
		return nil, fmt.Errorf("%s is no manifest of signatures", name)
	}
	var out []policy.Signature
	for _, l := range m.Layers {
		if l.MediaType != policy.MediaTypeSignature || len(out) == maxSignatures {
			continue
		}
		if err := checkDescriptor(l); err != nil {
			return nil, err
		}
		payload, err := fetchDocument(ctx, repo, l, policy.MaxPayload)
		if err != nil {
			return nil, err
		}
		out = append(out, policy.Signature{Payload: payload, Encoded: l.Annotations[policy.AnnotationSignature]})
	}
	return out, nil
}
