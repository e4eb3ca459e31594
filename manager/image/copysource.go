package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/layer"
	"github.com/conex-containers/conex/manager/registry"
)

func (c *copier) openSource(ctx context.Context) (copySource, error) {
	name := c.o.Source.Name
	switch c.o.Source.Kind {
	case docker.CopyRegistry:
		ref, err := ParseReference(name)
		if err != nil {
			return nil, err
		}
		return &registrySource{service: c.Service, repo: c.repository(ref, c.o.SourceAuth), ref: ref.WithDefaultTag()}, nil
	case docker.CopyStore:
		all, err := c.records(ctx, c.ns)
		if err != nil {
			return nil, err
		}
		img, _, err := c.find(ctx, all, name)
		if err != nil {
			return nil, err
		}
		if err := c.hold.blobs(ctx, img.Target.Digest); err != nil {
			return nil, err
		}
		return &storeSource{stored: stored{c.Content}, target: img.Target}, nil
	case docker.CopyLayout, docker.CopyDockerArchive:
		return c.readSource(ctx)
	}
	return nil, errdefs.InvalidArgument("copy: unknown kind of source %q", c.o.Source.Kind)
}

// registrySource is an image of a registry.
type registrySource struct {
	service *Service
	repo    *registry.Repository
	ref     Reference
	data    map[digest.Digest][]byte // documents that were read
}

func (r *registrySource) root(ctx context.Context) (ocispec.Descriptor, error) {
	desc, data, err := r.repo.Manifest(ctx, r.ref.remote())
	if err == nil {
		r.keep(desc.Digest, data)
	}
	return desc, err
}

func (r *registrySource) admit(ctx context.Context, passed []ocispec.Descriptor) error {
	return r.service.admit(ctx, fromRegistry(r.ref, passed[0], passed), r.service.signatures(r.repo))
}

func (r *registrySource) keep(d digest.Digest, data []byte) {
	if r.data == nil {
		r.data = map[digest.Digest][]byte{}
	}
	r.data[d] = data
}

func (r *registrySource) document(ctx context.Context, desc ocispec.Descriptor, max int64) ([]byte, error) {
	if data, ok := r.data[desc.Digest]; ok {
		return data, nil
	}
	data, err := fetchDocument(ctx, r.repo, desc, max)
	if err == nil {
		r.keep(desc.Digest, data)
	}
	return data, err
}

func (r *registrySource) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return r.repo.Blob(ctx, desc, 0)
}

// companionSuffixes are those of cosign's tags: sha256-<hex>.sig (cosign, specs/SIGNATURE_SPEC.md).
var companionSuffixes = []string{".sig", ".att", ".sbom"}

// companionTag begins the tags of what belongs to d.
func companionTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

func (r *registrySource) companions(ctx context.Context, d digest.Digest) ([]companion, error) {
	list, err := r.repo.Referrers(ctx, d, "")
	if err != nil {
		return nil, err
	}
	var out []companion
	for _, desc := range list {
		out = append(out, companion{desc: desc, to: d})
	}
	for _, suffix := range companionSuffixes {
		tag := companionTag(d) + suffix
		head, err := r.repo.Head(ctx, tag)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err == nil && head.Digest == "" {
			head, _, err = r.repo.Manifest(ctx, tag)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, companion{desc: head, tag: tag, to: d})
	}
	return out, nil
}

// storeSource is an image in the content store: one of ours, or of an archive that was read into it.
type storeSource struct {
	stored
	check  func(ctx context.Context, target ocispec.Descriptor) error // of an archive; the store's own images came in before
	target ocispec.Descriptor
	others []ocispec.Descriptor // of an archive's index.json
}

func (s *storeSource) root(context.Context) (ocispec.Descriptor, error) { return s.target, nil }

func (s *storeSource) admit(ctx context.Context, passed []ocispec.Descriptor) error {
	if s.check == nil {
		return nil
	}
	return s.check(ctx, passed[0])
}

func (s *storeSource) blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	return s.content.Reader(ctx, desc.Digest)
}

// companions finds in an archive what is tagged by d's digest, and what names d as its subject.
func (s *storeSource) companions(ctx context.Context, d digest.Digest) ([]companion, error) {
	var out []companion
	for _, desc := range s.others {
		tag := desc.Annotations[ocispec.AnnotationRefName]
		if strings.HasPrefix(tag, companionTag(d)+".") {
			out = append(out, companion{desc: desc, tag: tag, to: d})
			continue
		}
		data, err := s.document(ctx, desc, registry.MaxManifest)
		if err != nil {
			return nil, err
		}
		var m struct{ Subject *ocispec.Descriptor }
		if json.Unmarshal(data, &m) == nil && m.Subject != nil && m.Subject.Digest == d {
			out = append(out, companion{desc: desc, to: d})
		}
	}
	return out, nil
}

// readSource brings an archive's files into the content store, under the copy's lease.
func (c *copier) readSource(ctx context.Context) (copySource, error) {
	if c.o.Archive == nil {
		return nil, errdefs.InvalidArgument("copy: the archive is missing: it is the request's body")
	}
	plain, err := layer.Decompress(c.o.Archive)
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	a, err := c.readArchive(ctx, c.hold, plain, nil)
	if err != nil {
		return nil, err
	}
	if raw, ok := a.documents[ocispec.ImageIndexFile]; ok && c.o.Source.Kind == docker.CopyLayout {
		entries, err := indexEntries(ocispec.Descriptor{Digest: "index.json"}, raw)
		if err != nil {
			return nil, fmt.Errorf("image archive: %w", err)
		}
		return c.pick(a, entries)
	}
	if c.o.Source.Kind == docker.CopyLayout {
		return nil, errdefs.InvalidArgument("the archive is no OCI layout: it has no %s (docker-archive: reads what `docker save` wrote)", ocispec.ImageIndexFile)
	}
	items, err := a.items()
	if err != nil {
		return nil, err
	}
	return c.pickItem(ctx, a, items)
}

// pick chooses an entry of an OCI layout by its tag.
func (c *copier) pick(a *archive, entries []ocispec.Descriptor) (copySource, error) {
	name := c.o.Source.Name
	var found, others []ocispec.Descriptor
	var tags []string
	for _, e := range entries {
		tag := e.Annotations[ocispec.AnnotationRefName]
		if tag != "" {
			tags = append(tags, tag)
		}
		isCompanion := strings.HasPrefix(tag, "sha256-") || e.ArtifactType != ""
		if name != "" && (tag == name || e.Annotations[annotationName] == name || e.Digest.String() == name) || name == "" && !isCompanion {
			if !slices.ContainsFunc(found, func(d ocispec.Descriptor) bool { return d.Digest == e.Digest }) {
				found = append(found, e)
			}
			continue
		}
		others = append(others, e)
	}
	return c.chosen(a, found, others, tags)
}

func (c *copier) chosen(a *archive, found, others []ocispec.Descriptor, tags []string) (copySource, error) {
	check := func(ctx context.Context, target ocispec.Descriptor) error { return c.admitArchived(ctx, a, target) }
	switch {
	case len(found) == 1:
		return &storeSource{stored: stored{c.Content}, target: found[0], others: others, check: check}, nil
	case len(found) == 0 && c.o.Source.Name != "":
		return nil, errdefs.NotFound("the source has no image %q; it has: %s", c.o.Source.Name, strings.Join(tags, ", "))
	case len(found) == 0:
		return nil, errdefs.InvalidArgument("the source holds no image")
	}
	return nil, errdefs.InvalidArgument("the source has %d images: say which one: %s", len(found), strings.Join(tags, ", "))
}

// pickItem chooses an image of a docker archive, for which a manifest is made.
func (c *copier) pickItem(ctx context.Context, a *archive, items []archiveItem) (copySource, error) {
	want := ""
	if c.o.Source.Name != "" {
		ref, err := ParseReference(c.o.Source.Name)
		if err != nil {
			return nil, err
		}
		want = ref.recordName()
	}
	var found []ocispec.Descriptor
	var tags []string
	for _, item := range items {
		tags = append(tags, item.RepoTags...)
		names, err := recordNames(item.RepoTags)
		if err != nil {
			return nil, err
		}
		if want != "" && !slices.Contains(names, want) {
			continue
		}
		desc, err := c.fromItem(ctx, c.hold, a, item)
		if err != nil {
			return nil, err
		}
		found = append(found, desc)
	}
	return c.chosen(a, found, nil, tags)
}
