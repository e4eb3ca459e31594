package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// archiveTarget writes a tar that is an OCI layout, or a docker archive. It holds no file of this machine: the client
// puts the bytes where it may.
type archiveTarget struct {
	out     func() io.Writer
	tar     *tar.Writer
	docker  bool
	ref     string
	have    map[digest.Digest]bool // at the reader's, or in the archive
	entries []ocispec.Descriptor   // of index.json
}

// newArchiveTarget checks what can be checked before the first byte.
func (c *copier) newArchiveTarget() (copyTarget, error) {
	if c.o.Out == nil {
		return nil, errdefs.InvalidArgument("copy: there is nowhere to write the archive to")
	}
	t := &archiveTarget{out: c.o.Out, docker: c.o.Target.Kind == docker.CopyDockerArchive, have: map[digest.Digest]bool{}}
	for _, s := range c.o.Have {
		d, err := ParseDigest(s)
		if err != nil {
			return nil, err
		}
		t.have[d] = true
	}
	if t.docker && c.o.Target.Name != "" {
		ref, err := ParseReference(c.o.Target.Name)
		if err != nil {
			return nil, err
		}
		t.ref = ref.WithDefaultTag().Familiar()
	}
	return t, nil
}

// parallel is one: a tar has one end.
func (t *archiveTarget) parallel() int { return 1 }

func (t *archiveTarget) hasManifest(context.Context, digest.Digest) bool { return false }

// begin starts the stream at the first entry.
func (t *archiveTarget) begin() error {
	if t.tar != nil {
		return nil
	}
	t.tar = tar.NewWriter(t.out())
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}); err != nil {
			return err
		}
	}
	return nil
}

func (t *archiveTarget) putBlob(_ context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) (string, error) {
	if t.have[desc.Digest] {
		return "Already exists", nil
	}
	r, err := open()
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	if err := t.begin(); err != nil {
		return "", err
	}
	if err := t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: blobName(desc.Digest), Mode: 0o644, Size: desc.Size, ModTime: epoch}); err != nil {
		return "", err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{t.tar}, struct{ io.Reader }{r}, make([]byte, 256<<10))
	if err == nil && n != desc.Size {
		err = fmt.Errorf("%d bytes came where the manifest says %d: %w", n, desc.Size, io.ErrUnexpectedEOF)
	}
	if errors.Is(err, tar.ErrWriteTooLong) {
		err = errdefs.Unavailable("it has more bytes than the %d that its manifest says", desc.Size)
	}
	t.have[desc.Digest] = true
	return "Copied", err
}

func (t *archiveTarget) file(name string, data []byte) error {
	if err := t.begin(); err != nil {
		return err
	}
	if err := t.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch}); err != nil {
		return err
	}
	_, err := t.tar.Write(data)
	return err
}

func (t *archiveTarget) putManifest(_ context.Context, m copied) error {
	if m.companion { // what an image itself consists of is found from its root
		entry := m.desc
		if m.tag != "" {
			entry.Annotations = map[string]string{ocispec.AnnotationRefName: m.tag}
		}
		if m.tag != "" || m.subject != "" {
			if entry.ArtifactType = artifactType(m.data); entry.ArtifactType == "" {
				entry.ArtifactType = "application/octet-stream"
			}
			t.entries = append(t.entries, entry)
		}
	}
	if t.have[m.desc.Digest] {
		return nil
	}
	t.have[m.desc.Digest] = true
	return t.file(blobName(m.desc.Digest), m.data)
}

// artifactType tells what a manifest that is no image is (image-spec, manifest.md).
func artifactType(data []byte) string {
	var doc struct {
		ArtifactType string
		Config       ocispec.Descriptor
	}
	if json.Unmarshal(data, &doc) != nil {
		return ""
	}
	if doc.ArtifactType != "" {
		return doc.ArtifactType
	}
	return doc.Config.MediaType
}

func (t *archiveTarget) finish(_ context.Context, root copied) error {
	entry := root.desc
	if root.tag != "" {
		entry.Annotations = map[string]string{ocispec.AnnotationRefName: root.tag}
	}
	if t.docker && t.ref != "" {
		ref, err := ParseReference(t.ref)
		if err != nil {
			return err
		}
		entry.Annotations = map[string]string{annotationName: ref.String(), ocispec.AnnotationRefName: ref.Tag}
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: append([]ocispec.Descriptor{entry}, t.entries...),
	}
	files := []struct {
		name string
		doc  any
	}{{ocispec.ImageIndexFile, index}, {ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}}}
	if t.docker {
		item, err := t.item(root)
		if err != nil {
			return err
		}
		files = append(files, struct {
			name string
			doc  any
		}{fileManifest, []archiveItem{item}})
	}
	for _, f := range files {
		data, err := json.Marshal(f.doc)
		if err != nil {
			return err
		}
		if err := t.file(f.name, data); err != nil {
			return err
		}
	}
	return t.tar.Close()
}

// item describes the image as docker archives do.
func (t *archiveTarget) item(root copied) (archiveItem, error) {
	m, err := parseManifest(root.data)
	if err != nil {
		return archiveItem{}, err
	}
	item := archiveItem{Config: blobName(m.Config.Digest), RepoTags: []string{}, Layers: []string{}}
	if t.ref != "" {
		item.RepoTags = append(item.RepoTags, t.ref)
	}
	for _, l := range m.Layers {
		item.Layers = append(item.Layers, blobName(l.Digest))
	}
	return item, nil
}
