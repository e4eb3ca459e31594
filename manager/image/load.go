package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/layer"
	"github.com/conex-containers/conex/manager/registry"
)

// Load brings the images of a docker archive or an OCI layout, as one tar, plain, gzip or zstd, in; r is read once.
// Progress tells "Loading layer" bars unless quiet, and "Loaded image: NAME" or "Loaded image ID: DIGEST" for each.
func (s *Service) Load(ctx context.Context, ns string, r io.Reader, o LoadOptions) ([]Image, error) {
	chosen, err := parsePlatforms(o.Platforms)
	if err != nil {
		return nil, err
	}
	plain, err := layer.Decompress(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	rep := newReporter(o.Progress)
	bars := rep
	if o.Quiet {
		bars = nil
	}
	var made []Image
	err = s.holding(ctx, ns, func(h *hold) error {
		a, err := s.readArchive(ctx, h, plain, bars)
		if err != nil {
			return err
		}
		a.embedded = o.embedded
		made, err = s.adopt(ctx, ns, h, a, chosen, rep)
		return err
	})
	if err == nil && len(chosen) > 0 {
		s.collect(ctx)
	}
	return made, err
}

// loaded is one image of an archive, its blobs in the store, before it has a record.
type loaded struct {
	target ocispec.Descriptor
	names  []string
}

// settling is how many images of an archive are unpacked and labelled at once: those of one layer wait for one another, and
// their records go into the database together.
const settling = 16

// adopt checks, unpacks and names the archive's images.
func (s *Service) adopt(ctx context.Context, ns string, h *hold, a *archive, chosen platforms, rep *reporter) ([]Image, error) {
	images, err := s.archiveImages(ctx, h, a)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, errdefs.InvalidArgument("the archive holds no image")
	}
	for _, l := range images {
		if err := s.admitArchived(ctx, a, l.target); err != nil {
			return nil, err
		}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(settling)
	for _, l := range images {
		group.Go(func() error { return s.settle(groupCtx, h, l.target, chosen, rep) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, l := range images { // they may share indexes
		if err := s.keepChosen(ctx, ns, l.target, chosen); err != nil {
			return nil, err
		}
	}
	made, err := s.pointAll(ctx, ns, images)
	if err != nil {
		return nil, err
	}
	for _, l := range images {
		for _, name := range l.names {
			ref, err := ParseReference(name)
			if err != nil {
				continue
			}
			rep.status("", "Loaded image: "+ref.Familiar())
			s.Notify(ctx, ns, "load", ref.Familiar(), ref.Familiar())
		}
		if len(l.names) == 0 {
			rep.status("", "Loaded image ID: "+l.target.Digest.String())
			s.Notify(ctx, ns, "load", l.target.Digest.String(), "")
		}
		logging.From(ctx).Info("loaded", "image", l.target.Digest.String(), "names", len(l.names))
	}
	return made, nil
}

// shown is the image's first name, or its ID.
func (l *loaded) shown() string {
	for _, name := range l.names {
		if ref, err := ParseReference(name); err == nil {
			return ref.Familiar()
		}
	}
	return shortDigest(l.target.Digest)
}

// settle labels a target's documents, unpacks this machine's platform (or the chosen ones) when it is there, and makes
// all durable. What was not chosen gets no label (keepChosen).
func (s *Service) settle(ctx context.Context, h *hold, target ocispec.Descriptor, chosen platforms, rep *reporter) error {
	docs, passed, err := s.documents(ctx, target)
	if err != nil {
		return fmt.Errorf("image %s: %w", shortDigest(target.Digest), err)
	}
	if missing := chosen.missing(docs); missing != "" {
		return errdefs.NotFound("image %s of the archive does not provide the specified platform (%s)", shortDigest(target.Digest), missing)
	}
	docs = slices.DeleteFunc(docs, func(d *document) bool { return !chosen.take(d.image.Platform) })
	for _, doc := range docs {
		if err := s.checkBlobs(ctx, doc); err != nil {
			return fmt.Errorf("image %s: %w", shortDigest(target.Digest), err)
		}
		if platformScore(hostPlatform(), doc.image.Platform) > 0 || len(docs) == 1 || len(chosen) > 0 {
			if err := s.unpackStored(ctx, h, doc, rep); err != nil {
				return fmt.Errorf("image %s: %w", shortDigest(target.Digest), err)
			}
		}
		if err := s.label(ctx, doc); err != nil {
			return err
		}
	}
	for _, index := range passed {
		data, err := s.Content.ReadAll(ctx, index.Digest, registry.MaxManifest)
		if err != nil {
			return err
		}
		entries, err := indexEntries(index, data)
		if err != nil {
			return err
		}
		labels := indexLabels(entries, func(d ocispec.Descriptor) bool { return d.Platform == nil || chosen.take(*d.Platform) })
		if _, err := s.Content.Update(ctx, index.Digest, labels); err != nil {
			return err
		}
	}
	return s.Content.Sync(ctx)
}

// label gives manifest and config the collector's labels.
func (s *Service) label(ctx context.Context, doc *document) error {
	if _, err := s.Content.Update(ctx, doc.manifest.Digest, manifestLabels(doc)); err != nil {
		return err
	}
	if labels := s.configLabels(doc); labels != nil {
		_, err := s.Content.Update(ctx, doc.config.Digest, labels)
		return err
	}
	return nil
}

func (s *Service) checkBlobs(ctx context.Context, doc *document) error {
	for _, l := range doc.layers {
		info, err := s.Content.Info(ctx, l.Digest)
		if err != nil {
			return errdefs.InvalidArgument("layer %s is not in the archive: %w", l.Digest, err)
		}
		if l.Size != 0 && info.Size != l.Size {
			return errdefs.InvalidArgument("layer %s has %d bytes, the manifest says %d", l.Digest, info.Size, l.Size)
		}
	}
	return nil
}

// documents returns the manifests of target that are here, and the indexes passed on the way.
func (s *Service) documents(ctx context.Context, target ocispec.Descriptor) ([]*document, []ocispec.Descriptor, error) {
	var docs []*document
	var indexes []ocispec.Descriptor
	var visit func(d ocispec.Descriptor, depth int) error
	visit = func(d ocispec.Descriptor, depth int) error {
		data, err := s.Content.ReadAll(ctx, d.Digest, registry.MaxManifest)
		if errdefs.IsNotFound(err) && depth > 0 {
			return nil // another platform's, not brought along
		}
		if err != nil {
			return err
		}
		mt, err := registry.DocumentType(data, d.MediaType)
		if err != nil {
			return err
		}
		if registry.IsManifest(mt) {
			doc, err := readManifest(ctx, stored{s.Content}, d, data)
			if depth > 0 && (errdefs.IsNotFound(err) || d.Annotations[annotationReferenceType] != "") {
				return nil
			}
			if err == nil {
				docs = append(docs, doc)
			}
			return err
		}
		if depth == maxDepth {
			return errdefs.InvalidArgument("indexes in indexes more than %d deep", maxDepth)
		}
		entries, err := indexEntries(d, data)
		if err != nil {
			return err
		}
		indexes = append(indexes, d)
		for _, e := range entries {
			if err := visit(e, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	err := visit(target, 0)
	if err == nil && len(docs) == 0 {
		err = errdefs.InvalidArgument("none of its manifests is there")
	}
	return docs, indexes, err
}

// archiveImages lists the archive's images: by index.json, which keeps digests, else by manifest.json.
func (s *Service) archiveImages(ctx context.Context, h *hold, a *archive) ([]loaded, error) {
	if raw, ok := a.documents[ocispec.ImageIndexFile]; ok {
		return s.layoutImages(a, raw)
	}
	if _, ok := a.documents[fileManifest]; !ok {
		return nil, errdefs.InvalidArgument("the input is no image archive: it has neither %s nor %s (import reads root file systems)", fileManifest, ocispec.ImageIndexFile)
	}
	items, err := a.items()
	if err != nil {
		return nil, err
	}
	var images []loaded
	for _, item := range items {
		target, err := s.fromItem(ctx, h, a, item)
		if err != nil {
			return nil, err
		}
		names, err := recordNames(item.RepoTags)
		if err != nil {
			return nil, err
		}
		images = append(images, loaded{target: target, names: names})
	}
	return images, nil
}

func recordNames(tags []string) ([]string, error) {
	var names []string
	for _, t := range tags {
		ref, err := ParseReference(t)
		if err != nil {
			return nil, fmt.Errorf("image archive: tag %q: %w", t, err)
		}
		names = append(names, ref.recordName())
	}
	return names, nil
}

// layoutImages reads an OCI layout's index.json; several entries of one digest are one image's names.
func (s *Service) layoutImages(a *archive, raw []byte) ([]loaded, error) {
	entries, err := indexEntries(ocispec.Descriptor{Digest: "index.json"}, raw)
	if err != nil {
		return nil, fmt.Errorf("image archive: %w", err)
	}
	at := map[string]int{}
	var images []loaded
	for _, d := range entries {
		if _, ok := a.files["blobs/"+d.Digest.Algorithm().String()+"/"+d.Digest.Encoded()]; !ok {
			return nil, errdefs.InvalidArgument("image archive: index.json names %s, which is not in it", d.Digest)
		}
		i, ok := at[d.Digest.String()]
		if !ok {
			i = len(images)
			at[d.Digest.String()] = i
			images = append(images, loaded{target: d})
		}
		if name := layoutName(d); name != "" {
			images[i].names = append(images[i].names, name)
		}
	}
	return images, nil
}

// layoutName is the record's name that an entry's annotations give, "" for none: containerd's full name, or a
// ref.name that is more than a tag.
func layoutName(d ocispec.Descriptor) string {
	for _, key := range []string{annotationName, ocispec.AnnotationRefName} {
		ref, err := ParseReference(d.Annotations[key])
		if err != nil || isDangling(d.Annotations[key]) {
			continue
		}
		if key == ocispec.AnnotationRefName && ref.Tag == "" && ref.Digest == "" {
			continue // image-spec has bare tags here
		}
		return ref.recordName()
	}
	return ""
}

// fromItem makes a manifest for an image of a docker archive that has none.
func (s *Service) fromItem(ctx context.Context, h *hold, a *archive, item archiveItem) (ocispec.Descriptor, error) {
	config, err := a.file(item.Config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: config.digest, Size: config.size},
		Layers: []ocispec.Descriptor{},
	}
	for _, name := range item.Layers {
		l, err := a.file(name)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: layerType(l.magic), Digest: l.digest, Size: l.size})
	}
	return s.putManifest(ctx, h, m)
}

func layerType(magic []byte) string {
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return ocispec.MediaTypeImageLayerGzip
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// putManifest stores a manifest that was made here.
func (s *Service) putManifest(ctx context.Context, h *hold, m ocispec.Manifest) (ocispec.Descriptor, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digestOf(data), Size: int64(len(data))}
	if err := h.blobs(ctx, desc.Digest); err != nil {
		return ocispec.Descriptor{}, err
	}
	return s.Content.WriteBytes(ctx, m.MediaType, data, nil)
}
