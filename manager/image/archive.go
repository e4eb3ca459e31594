package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

const (
	maxArchiveFiles = 100_000
	maxArchiveJSON  = 16 << 20 // manifest.json, index.json

	fileManifest     = "manifest.json"
	fileRepositories = "repositories"
	blobsSHA256      = "blobs/sha256/"
)

// archive is an image archive that was read: its few JSON documents in memory, everything else in the content store.
// Names of the archive are only ever keys of these maps, never paths of this machine (attack I24).
type archive struct {
	documents map[string][]byte
	files     map[string]archived
	links     map[string]string // by name: the name in the archive that it points at
	embedded  bool              // it is part of this program
}

// archived is a file of the archive that became a blob.
type archived struct {
	digest digest.Digest
	size   int64
	magic  []byte // its first bytes, which tell the compression
}

// archiveItem is one image of a docker archive's manifest.json.
type archiveItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// readArchive streams the tar r, which may be compressed, into the content store. What is no tar is
// InvalidArgument.
func (s *Service) readArchive(ctx context.Context, h *hold, r io.Reader, rep *reporter) (*archive, error) {
	a := &archive{documents: map[string][]byte{}, files: map[string]archived{}, links: map[string]string{}}
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, notArchive(n, err)
		}
		if n >= maxArchiveFiles {
			return nil, errdefs.InvalidArgument("image archive: more than %d files", maxArchiveFiles)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := a.take(ctx, s, h, hdr, tr, rep); err != nil {
			return nil, err
		}
	}
	if len(a.documents) == 0 && len(a.files) == 0 {
		return nil, notArchive(0, io.ErrUnexpectedEOF)
	}
	return a, nil
}

func notArchive(entries int, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if entries == 0 && (errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return errdefs.InvalidArgument("the input is no image archive: it is not a tar file as `save` writes it")
	}
	return errdefs.InvalidArgument("image archive: broken after %d files: %w", entries, err)
}

// take keeps one entry.
func (a *archive) take(ctx context.Context, s *Service, h *hold, hdr *tar.Header, body io.Reader, rep *reporter) error {
	name := path.Clean(strings.TrimLeft(hdr.Name, "/"))
	switch hdr.Typeflag {
	case tar.TypeSymlink:
		a.links[name] = path.Join(path.Dir(name), hdr.Linkname)
		return nil
	case tar.TypeLink:
		a.links[name] = path.Clean(hdr.Linkname)
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	switch name {
	case fileManifest, fileRepositories, ocispec.ImageIndexFile, ocispec.ImageLayoutFile:
		if hdr.Size > maxArchiveJSON {
			return errdefs.InvalidArgument("image archive: %s has %d bytes, more than %d", name, hdr.Size, maxArchiveJSON)
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return notArchive(1, err)
		}
		a.documents[name] = data
		return nil
	}
	if base := path.Base(name); base == "json" || base == "VERSION" {
		return nil // of docker's archives before 1.10
	}
	file, err := s.ingest(ctx, h, name, hdr.Size, body, rep)
	if err != nil {
		return fmt.Errorf("image archive: %s: %w", name, err)
	}
	a.files[name] = file
	return nil
}

// ingest makes a file of the archive a blob; size is -1 when it is not known. One that is named by its digest must have it, and one that is here
// already is not written again.
func (s *Service) ingest(ctx context.Context, h *hold, name string, size int64, body io.Reader, rep *reporter) (archived, error) {
	want := ocispec.Descriptor{Size: max(size, 0)}
	if hex, ok := strings.CutPrefix(name, blobsSHA256); ok {
		d, err := ParseDigest("sha256:" + hex)
		if err != nil {
			return archived{}, err
		}
		want.Digest = d
		if err := h.blobs(ctx, d); err != nil {
			return archived{}, err
		}
	}
	head := make([]byte, 4)
	n, err := io.ReadFull(body, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return archived{}, notArchive(1, err)
	}
	head = head[:n]
	file := archived{digest: want.Digest, size: size, magic: head}
	h.wrote.Store(true)
	w, err := s.Content.Writer(ctx, "load "+rand.Text(), want)
	if errdefs.IsAlreadyExists(err) {
		return file, nil
	}
	if err != nil {
		return archived{}, err
	}
	bar := &barWriter{w: w, rep: rep, total: size, id: shortName(name)}
	if _, err = io.CopyBuffer(bar, io.MultiReader(bytes.NewReader(head), struct{ io.Reader }{body}), make([]byte, 256<<10)); err != nil {
		return archived{}, errors.Join(notRoom(err), w.Abort())
	}
	file.size = bar.n
	if file.digest == "" {
		file.digest = w.Digest()
		if err := h.blobs(ctx, file.digest); err != nil {
			return archived{}, errors.Join(err, w.Abort())
		}
	}
	return file, w.Commit(ctx, nil)
}

// notRoom keeps the class of a full disk and calls the rest a broken archive.
func notRoom(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errdefs.InvalidArgument("the archive ends early: %w", err)
	}
	return err
}

// shortName is the progress id of an archive's file: what of its name tells layers apart.
func shortName(name string) string {
	if hex, ok := strings.CutPrefix(name, blobsSHA256); ok {
		name = hex
	}
	if len(name) > 12 && isHex(name[:12]) {
		return name[:12]
	}
	return name
}

// barWriter moves the bar of a layer being loaded; small files have none.
type barWriter struct {
	w     io.Writer
	rep   *reporter
	id    string
	n     int64
	total int64
}

const minBar = 1 << 20

func (b *barWriter) Write(p []byte) (int, error) {
	n, err := b.w.Write(p)
	b.n += int64(n)
	if b.total >= minBar {
		b.rep.move(b.id, "Loading layer", b.n, b.total)
	}
	return n, err
}

// file finds a file by name, through at most a few links.
func (a *archive) file(name string) (archived, error) {
	at := path.Clean(name)
	for range 8 {
		if f, ok := a.files[at]; ok {
			return f, nil
		}
		next, ok := a.links[at]
		if !ok {
			break
		}
		at = next
	}
	return archived{}, errdefs.InvalidArgument("image archive: %s names the file %q, which is not in it", fileManifest, name)
}

// items reads manifest.json.
func (a *archive) items() ([]archiveItem, error) {
	var items []archiveItem
	if err := json.Unmarshal(a.documents[fileManifest], &items); err != nil {
		return nil, errdefs.InvalidArgument("image archive: %s: %w", fileManifest, err)
	}
	return items, nil
}
