package image

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/registry"
)

const (
	maxConfig  = 8 << 20
	maxLayers  = 500 // of one image: what overlayfs takes
	maxEntries = 1000
	maxDepth   = 4 // of indexes in indexes
	cacheSize  = 20_000

	// labelSource, with the registry's host, lists the repositories that a blob came from (containerd's own label):
	// a push to the same registry mounts it from there.
	labelSource = "containerd.io/distribution.source."
)

// document is a manifest with its config, read, checked and immutable: the image for one platform.
type document struct {
	manifest ocispec.Descriptor
	config   ocispec.Descriptor
	layers   []ocispec.Descriptor
	image    Config
	raw      []byte
	chains   []string // chainID of the layers up to each one
	blobs    int64    // bytes of manifest, config and layers
}

func (d *document) chain() string {
	if len(d.chains) == 0 {
		return ""
	}
	return d.chains[len(d.chains)-1]
}

// cache keeps documents by the digest of their manifest: they never change.
type cache struct {
	mu   sync.Mutex
	docs map[digest.Digest]*document
}

func (c *cache) get(d digest.Digest) *document {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.docs[d]
}

func (c *cache) put(d digest.Digest, doc *document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.docs) >= cacheSize {
		clear(c.docs)
	}
	c.docs[d] = doc
}

func (c *cache) forget(d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.docs, d)
}

// source gives the bytes of manifests, indexes and configs: the content store, or a registry behind it.
type source interface {
	// document returns the bytes of desc, at most max, verified against desc.Digest.
	document(ctx context.Context, desc ocispec.Descriptor, max int64) ([]byte, error)
}

// stored reads from the content store only.
type stored struct{ content *content.Store }

func (s stored) document(ctx context.Context, desc ocispec.Descriptor, max int64) ([]byte, error) {
	return s.content.ReadAll(ctx, desc.Digest, max)
}

// open returns the document of target for platform, from the content store.
func (s *Service) open(ctx context.Context, target ocispec.Descriptor, platform ocispec.Platform) (*document, error) {
	if doc := s.cache.get(target.Digest); doc != nil {
		return doc, nil
	}
	doc, _, err := readDocument(ctx, stored{s.Content}, target, platform)
	if err != nil {
		return nil, err
	}
	if doc.manifest.Digest == target.Digest { // an index may be asked for another platform
		s.cache.put(target.Digest, doc)
	}
	return doc, nil
}

// readDocument follows target through indexes to the manifest for platform and its config. It returns the indexes
// and the manifest that it passed, outermost first.
func readDocument(ctx context.Context, src source, target ocispec.Descriptor, platform ocispec.Platform) (*document, []ocispec.Descriptor, error) {
	var passed []ocispec.Descriptor
	desc := target
	for depth := 0; ; depth++ {
		data, err := src.document(ctx, desc, registry.MaxManifest)
		if err != nil {
			return nil, nil, err
		}
		mt, err := registry.DocumentType(data, desc.MediaType)
		if err != nil {
			return nil, nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
		}
		passed = append(passed, desc)
		if registry.IsManifest(mt) {
			doc, err := readManifest(ctx, src, desc, data)
			return doc, passed, err
		}
		if depth == maxDepth {
			return nil, nil, errdefs.InvalidArgument("index %s: indexes in indexes more than %d deep", target.Digest, maxDepth)
		}
		entries, err := indexEntries(desc, data)
		if err != nil {
			return nil, nil, err
		}
		if desc, err = choose(entries, platform); err != nil {
			return nil, nil, err
		}
	}
}

func indexEntries(desc ocispec.Descriptor, data []byte) ([]ocispec.Descriptor, error) {
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, errdefs.InvalidArgument("index %s: %w", desc.Digest, err)
	}
	if len(index.Manifests) > maxEntries {
		return nil, errdefs.InvalidArgument("index %s: %d entries, more than %d", desc.Digest, len(index.Manifests), maxEntries)
	}
	for _, d := range index.Manifests {
		if err := checkDescriptor(d); err != nil {
			return nil, fmt.Errorf("index %s: %w", desc.Digest, err)
		}
	}
	return index.Manifests, nil
}

// checkDescriptor makes sure that a stranger's digest is one, before it becomes part of a path (CVE-2024-3727).
func checkDescriptor(d ocispec.Descriptor) error {
	if _, err := ParseDigest(d.Digest.String()); err != nil {
		return err
	}
	if d.Size < 0 {
		return errdefs.InvalidArgument("descriptor %s: size %d", d.Digest, d.Size)
	}
	return nil
}

func readManifest(ctx context.Context, src source, desc ocispec.Descriptor, data []byte) (*document, error) {
	m, err := parseManifest(data)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	if err := checkManifest(m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	doc := &document{manifest: desc, config: m.Config, layers: m.Layers}
	doc.manifest.Size = int64(len(data))
	if doc.raw, err = src.document(ctx, m.Config, maxConfig); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(doc.raw, &doc.image); err != nil {
		return nil, errdefs.InvalidArgument("image config %s: %w", m.Config.Digest, err)
	}
	if err := registry.CheckConfig(doc.raw); err != nil {
		return nil, fmt.Errorf("image config %s: %w", m.Config.Digest, err)
	}
	return doc, doc.finish()
}

// parseManifest reads a manifest of anything: an image, a signature, an attestation. Its digests are digests.
func parseManifest(data []byte) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return m, errdefs.InvalidArgument("not a manifest: %w", err)
	}
	if len(m.Layers) > maxLayers {
		return m, errdefs.InvalidArgument("%d layers, more than %d", len(m.Layers), maxLayers)
	}
	if err := checkDescriptor(m.Config); err != nil {
		return m, fmt.Errorf("config: %w", err)
	}
	for i, l := range m.Layers {
		if err := checkDescriptor(l); err != nil {
			return m, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return m, nil
}

// descriptorOf describes a document that was read.
func descriptorOf(d digest.Digest, mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func checkManifest(m ocispec.Manifest) error {
	if mt := m.Config.MediaType; mt != ocispec.MediaTypeImageConfig && mt != registry.MediaTypeDockerConfig {
		return errdefs.InvalidArgument("not a container image: its config is of type %q", mt)
	}
	for i, l := range m.Layers {
		if strings.Contains(l.MediaType, ".foreign.") || strings.Contains(l.MediaType, ".nondistributable.") {
			return errdefs.NotImplemented("layer %d: type %q is not supported: a foreign layer is fetched from an address in the manifest, not from the registry", i, l.MediaType)
		}
		if !isLayer(l.MediaType) {
			return errdefs.InvalidArgument("layer %d: type %q is not supported", i, l.MediaType)
		}
	}
	return nil
}

// isLayer knows the layer types whose content is in the registry. Foreign layers, which name other hosts to fetch
// from, are refused: an image must not choose whom this machine talks to.
func isLayer(mediaType string) bool {
	switch base, _, _ := strings.Cut(mediaType, "+"); base {
	case ocispec.MediaTypeImageLayer:
		return true
	case registry.MediaTypeDockerLayer, "application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.docker.image.rootfs.diff.tar.zstd":
		return true
	}
	return false
}

// finish compares config and manifest and computes the chainIDs (image-spec, config.md: "Layer ChainID").
func (d *document) finish() error {
	ids := d.image.RootFS.DiffIDs
	if len(ids) != len(d.layers) {
		return errdefs.InvalidArgument("manifest %s: %d layers, but the config names %d", d.manifest.Digest, len(d.layers), len(ids))
	}
	d.blobs = d.manifest.Size + d.config.Size
	for i, id := range ids {
		if _, err := ParseDigest(id.String()); err != nil {
			return fmt.Errorf("image config %s: %w", d.config.Digest, err)
		}
		if i == 0 {
			d.chains = append(d.chains, id.String())
		} else {
			d.chains = append(d.chains, digest.FromString(d.chains[i-1]+" "+id.String()).String())
		}
		d.blobs += d.layers[i].Size
	}
	return nil
}

// manifestLabels tell the collector what a manifest needs, in containerd's words.
func manifestLabels(doc *document) map[string]string {
	labels := map[string]string{content.LabelGCRefContent + ".config": doc.config.Digest.String()}
	for i, l := range doc.layers {
		labels[content.LabelGCRefContent+".l."+strconv.Itoa(i)] = l.Digest.String()
	}
	return labels
}

// indexLabels tell the collector what an index needs; entries that are not here are no harm. With keep nil, all of them.
func indexLabels(entries []ocispec.Descriptor, keep func(ocispec.Descriptor) bool) map[string]string {
	labels := map[string]string{}
	for i, d := range entries {
		if keep != nil && !keep(d) {
			continue
		}
		labels[content.LabelGCRefContent+".m."+strconv.Itoa(i)] = d.Digest.String()
	}
	return labels
}

// configLabels tie the unpacked layers to the config.
func (s *Service) configLabels(doc *document) map[string]string {
	if doc.chain() == "" {
		return nil
	}
	return map[string]string{content.LabelGCRefSnapshot + s.Snapshotter: doc.chain()}
}
