// Package layout packs directories in the form of an OCI image layout (image-spec, image-layout.md) into archives and
// unpacks such archives, for `conex copy`: the engine sees the bytes, only the client the directory.
package layout

import (
	"archive/tar"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/atomicfile"
)

const (
	maxDocument = 16 << 20 // index.json
	maxManifest = 4 << 20
	blobs       = "blobs"
)

// Pack writes the layout in dir as a tar: of the image with this tag, or with "" or all of everything that index.json
// names.
func Pack(dir, tag string, all bool, w io.Writer) error {
	raw, index, err := readIndex(dir)
	if err != nil {
		return err
	}
	p := &packer{dir: dir, tar: tar.NewWriter(w), done: map[string]bool{}}
	found := false
	for _, d := range index.Manifests {
		own := tag == "" || d.Annotations[ocispec.AnnotationRefName] == tag || d.Digest.String() == tag
		found = found || own
		if own || all {
			if err := p.document(d, 0); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("oci:%s: there is no image %q: index.json has %s", dir, tag, tags(index))
	}
	layout, err := os.ReadFile(filepath.Join(dir, ocispec.ImageLayoutFile))
	if err != nil {
		return fmt.Errorf("oci:%s: not an OCI image layout: %w", dir, err)
	}
	for name, data := range map[string][]byte{ocispec.ImageIndexFile: raw, ocispec.ImageLayoutFile: layout} {
		if err := p.header(name, int64(len(data))); err != nil {
			return err
		}
		if _, err := p.tar.Write(data); err != nil {
			return err
		}
	}
	return p.tar.Close()
}

func readIndex(dir string) ([]byte, ocispec.Index, error) {
	var index ocispec.Index
	raw, err := os.ReadFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err == nil && len(raw) > maxDocument {
		err = fmt.Errorf("index.json has more than %d bytes", maxDocument)
	}
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		return nil, index, fmt.Errorf("oci:%s: not an OCI image layout: %w", dir, err)
	}
	return raw, index, nil
}

func tags(index ocispec.Index) string {
	var list []string
	for _, d := range index.Manifests {
		if t := d.Annotations[ocispec.AnnotationRefName]; t != "" {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return "no tags"
	}
	return strings.Join(list, ", ")
}

type packer struct {
	dir  string
	tar  *tar.Writer
	done map[string]bool
}

func (p *packer) header(name string, size int64) error {
	return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
}

// maxDepth bounds indexes in indexes.
const maxDepth = 8

// document writes a manifest or index and what it names. What an index names and the directory lacks is left out: the
// engine says whether that is a mistake.
func (p *packer) document(d ocispec.Descriptor, depth int) error {
	if p.done[d.Digest.String()] || depth > maxDepth {
		return nil
	}
	if err := p.blob(d); err != nil {
		if depth > 0 && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	path, err := blobPath(p.dir, d.Digest.String())
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxManifest {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var doc struct {
		Manifests, Layers []ocispec.Descriptor
		Config            *ocispec.Descriptor
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("oci:%s: manifest %s: %w", p.dir, d.Digest, err)
	}
	if doc.Config != nil {
		doc.Layers = append(doc.Layers, *doc.Config)
	}
	for _, l := range doc.Layers {
		if err := p.blob(l); err != nil {
			return err
		}
	}
	for _, m := range doc.Manifests {
		if err := p.document(m, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) blob(d ocispec.Descriptor) error {
	if p.done[d.Digest.String()] {
		return nil
	}
	path, err := blobPath(p.dir, d.Digest.String())
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("oci:%s: %w", p.dir, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p.done[d.Digest.String()] = true
	if err := p.header(blobs+"/"+strings.Replace(d.Digest.String(), ":", "/", 1), info.Size()); err != nil {
		return err
	}
	_, err = io.Copy(p.tar, f)
	return err
}

// blobPath is where a blob is; a digest that is none has no path (CVE-2024-3727).
func blobPath(dir, digest string) (string, error) {
	if _, err := newHash(digest); err != nil {
		return "", err
	}
	algorithm, hex, _ := strings.Cut(digest, ":")
	return filepath.Join(dir, blobs, algorithm, hex), nil
}

func newHash(digest string) (hash.Hash, error) {
	algorithm, text, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch algorithm {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, fmt.Errorf("digest %.200q: the algorithm is not supported", digest)
	}
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != h.Size() || strings.ToLower(text) != text {
		return nil, fmt.Errorf("digest %.200q: not a digest", digest)
	}
	return h, nil
}

// Blobs lists the digests of the blobs that a layout has, at most max; none when dir is no layout yet.
func Blobs(dir string, max int) []string {
	var list []string
	for _, algorithm := range []string{"sha256", "sha512"} {
		entries, err := os.ReadDir(filepath.Join(dir, blobs, algorithm))
		if err != nil {
			continue
		}
		for _, e := range entries {
			digest := algorithm + ":" + e.Name()
			if _, err := newHash(digest); err == nil && e.Type().IsRegular() && len(list) < max {
				list = append(list, digest)
			}
		}
	}
	return list
}

// Unpack adds the layout that is the tar r to the one in dir, which is made when there is none: blobs, each checked,
// and the entries of index.json, in place of those with the same tag.
func Unpack(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var index []byte
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("archive of the engine: %w", err)
		}
		name, isBlob := strings.CutPrefix(h.Name, blobs+"/")
		switch {
		case h.Typeflag != tar.TypeReg:
		case isBlob:
			err = takeBlob(dir, strings.Replace(name, "/", ":", 1), tr)
		case h.Name == ocispec.ImageIndexFile:
			index, err = io.ReadAll(io.LimitReader(tr, maxDocument))
		}
		if err != nil {
			return fmt.Errorf("oci:%s: %w", dir, err)
		}
	}
	if index == nil {
		return errors.New("archive of the engine: it ended early")
	}
	return merge(dir, index)
}

func takeBlob(dir, digest string, r io.Reader) (err error) {
	path, err := blobPath(dir, digest)
	if err != nil {
		return err
	}
	h, err := newHash(digest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := io.Copy(io.MultiWriter(f, h), r); err != nil {
		return err
	}
	if _, want, _ := strings.Cut(digest, ":"); hex.EncodeToString(h.Sum(nil)) != want {
		return fmt.Errorf("blob %s: other content came", digest)
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// merge puts the entries of a new index.json into the one that is there.
func merge(dir string, raw []byte) error {
	var add ocispec.Index
	if err := json.Unmarshal(raw, &add); err != nil {
		return fmt.Errorf("archive of the engine: index.json: %w", err)
	}
	_, index, err := readIndex(dir)
	if errors.Is(err, fs.ErrNotExist) {
		index, err = add, nil
		index.Manifests = nil
	}
	if err != nil {
		return err
	}
	kept := []ocispec.Descriptor{}
	for _, old := range index.Manifests {
		if !replaced(old, add.Manifests) {
			kept = append(kept, old)
		}
	}
	index.Manifests = append(kept, add.Manifests...)
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`), 0o644, false); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, ocispec.ImageIndexFile), data, 0o644, false)
}

// replaced tells whether an entry gives way: to one of the same tag, or without tags to the same one.
func replaced(old ocispec.Descriptor, by []ocispec.Descriptor) bool {
	tag := old.Annotations[ocispec.AnnotationRefName]
	for _, d := range by {
		if d.Annotations[ocispec.AnnotationRefName] == tag && (tag != "" || d.Digest == old.Digest) {
			return true
		}
	}
	return false
}
