package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// Save writes images as one tar that is an OCI layout and a docker archive at once, as docker 25 and newer do; its
// bytes depend on the images only. A name without a tag means all tags of its repository. only, when there is any, are
// the platforms of each image that are written.
func (s *Service) Save(ctx context.Context, ns string, refs, only []string, w io.Writer) error {
	chosen, err := parsePlatforms(only)
	if err != nil {
		return err
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return err
	}
	targets, err := s.saveTargets(ctx, all, refs)
	if err != nil {
		return err
	}
	return s.holding(ctx, ns, func(h *hold) error {
		for _, t := range targets {
			if err := h.blobs(ctx, t.target.Digest); err != nil {
				return err
			}
		}
		for _, t := range targets { // before the first byte, so that the error still has a status
			docs, err := s.chosenDocuments(ctx, t.target, chosen)
			if err != nil {
				return fmt.Errorf("save %s: %w", shortDigest(t.target.Digest), err)
			}
			if missing := chosen.missing(docs); missing != "" {
				return errPlatform(t.shown(), missing)
			}
		}
		out := &saver{Service: s, platforms: chosen, tar: tar.NewWriter(w), done: map[digest.Digest]bool{}, repositories: map[string]map[string]string{}}
		for _, t := range targets {
			if err := out.image(ctx, t); err != nil {
				return fmt.Errorf("save %s: %w", shortDigest(t.target.Digest), err)
			}
			for _, name := range t.names {
				s.Notify(ctx, ns, "save", name, name)
			}
		}
		return out.finish()
	})
}

// saveTargets resolves the arguments, each image once with all the names that were asked for.
func (s *Service) saveTargets(ctx context.Context, all []Image, refs []string) ([]loaded, error) {
	var targets []loaded
	add := func(img Image, named bool) {
		i := slices.IndexFunc(targets, func(t loaded) bool { return t.target.Digest == img.Target.Digest })
		if i < 0 {
			i = len(targets)
			targets = append(targets, loaded{target: img.Target})
		}
		if named && !isDangling(img.Name) && !strings.Contains(img.Name, "@") && !slices.Contains(targets[i].names, img.Name) {
			targets[i].names = append(targets[i].names, img.Name)
		}
	}
	for _, arg := range refs {
		if ref, err := ParseReference(arg); err == nil && ref.Tag == "" && ref.Digest == "" {
			found := false
			for _, img := range all {
				if strings.HasPrefix(img.Name, ref.Name()+":") {
					add(img, true)
					found = true
				}
			}
			if found {
				continue
			}
		}
		img, byName, err := s.find(ctx, all, arg)
		if err != nil {
			return nil, err
		}
		add(img, byName)
	}
	return targets, nil
}

// saver writes one archive.
type saver struct {
	*Service
	platforms    platforms
	tar          *tar.Writer
	done         map[digest.Digest]bool
	index        []ocispec.Descriptor
	items        []archiveItem
	repositories map[string]map[string]string
}

// epoch is every entry's time.
var epoch = time.Unix(0, 0).UTC()

func (o *saver) image(ctx context.Context, t loaded) error {
	docs, indexes, err := o.documents(ctx, t.target)
	if err != nil {
		return err
	}
	for _, d := range indexes {
		if err := o.blob(ctx, d.Digest); err != nil {
			return err
		}
	}
	whole := []*document(nil)
	for _, doc := range docs {
		if !o.platforms.take(doc.image.Platform) {
			continue
		}
		if err := o.checkBlobs(ctx, doc); err != nil {
			continue // another platform's, not all here
		}
		whole = append(whole, doc)
		for _, d := range append([]ocispec.Descriptor{doc.manifest, doc.config}, doc.layers...) {
			if err := o.blob(ctx, d.Digest); err != nil {
				return err
			}
		}
	}
	if len(whole) == 0 {
		return errdefs.NotFound("its layers are not here: pull it again")
	}
	o.name(t, best(whole))
	return nil
}

// chosenDocuments are the documents of target for the chosen platforms whose layers are all here.
func (s *Service) chosenDocuments(ctx context.Context, target ocispec.Descriptor, chosen platforms) ([]*document, error) {
	docs, _, err := s.documents(ctx, target)
	return slices.DeleteFunc(docs, func(d *document) bool {
		return !chosen.take(d.image.Platform) || s.checkBlobs(ctx, d) != nil
	}), err
}

// best is the document for this machine, or the first.
func best(docs []*document) *document {
	pick, score := docs[0], 0
	for _, d := range docs {
		if n := platformScore(hostPlatform(), d.image.Platform); n > score {
			pick, score = d, n
		}
	}
	return pick
}

// name puts the image into index.json, manifest.json and repositories.
func (o *saver) name(t loaded, doc *document) {
	item := archiveItem{Config: blobName(doc.config.Digest), RepoTags: []string{}, Layers: []string{}}
	for _, l := range doc.layers {
		item.Layers = append(item.Layers, blobName(l.Digest))
	}
	bare := ocispec.Descriptor{MediaType: t.target.MediaType, Digest: t.target.Digest, Size: t.target.Size}
	for _, name := range t.names {
		ref, err := ParseReference(name)
		if err != nil {
			continue
		}
		item.RepoTags = append(item.RepoTags, ref.Familiar())
		d := bare
		d.Annotations = map[string]string{annotationName: name, ocispec.AnnotationRefName: ref.Tag}
		o.index = append(o.index, d)
		if o.repositories[ref.FamiliarName()] == nil {
			o.repositories[ref.FamiliarName()] = map[string]string{}
		}
		if n := len(doc.layers); n > 0 {
			o.repositories[ref.FamiliarName()][ref.Tag] = doc.layers[n-1].Digest.Encoded()
		}
	}
	if len(t.names) == 0 {
		o.index = append(o.index, bare)
	}
	o.items = append(o.items, item)
}

func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// blob writes a blob once.
func (o *saver) blob(ctx context.Context, d digest.Digest) error {
	if o.done[d] {
		return nil
	}
	if len(o.done) == 0 {
		for _, dir := range []string{"blobs/", "blobs/sha256/"} {
			h := &tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}
			if err := o.tar.WriteHeader(h); err != nil {
				return err
			}
		}
	}
	o.done[d] = true
	b, err := o.Content.Reader(ctx, d)
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	h := &tar.Header{Typeflag: tar.TypeReg, Name: blobName(d), Mode: 0o644, Size: b.Size(), ModTime: epoch}
	if err := o.tar.WriteHeader(h); err != nil {
		return err
	}
	check := d.Algorithm().Digester()
	src := io.TeeReader(ctxReader{ctx, b}, check.Hash())
	if _, err := io.CopyBuffer(struct{ io.Writer }{o.tar}, src, make([]byte, 256<<10)); err != nil {
		return err
	}
	if got := check.Digest(); got != d {
		return fmt.Errorf("blob %s: its content changed on the disk (now %s): pull the image again", d, got)
	}
	return nil
}

func (o *saver) finish() error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: o.index}
	layout := ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}
	for _, f := range []struct {
		name string
		doc  any
	}{{ocispec.ImageIndexFile, index}, {fileManifest, o.items}, {ocispec.ImageLayoutFile, layout}, {fileRepositories, o.repositories}} {
		data, err := json.Marshal(f.doc)
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch}
		if err := o.tar.WriteHeader(h); err != nil {
			return err
		}
		if _, err := o.tar.Write(data); err != nil {
			return err
		}
	}
	return o.tar.Close()
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func digestOf(data []byte) digest.Digest { return digest.FromBytes(data) }
