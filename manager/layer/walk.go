package layer

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

// Entry is one entry of a layer as it is meant.
type Entry struct {
	Path     string // relative to the image's root, clean; "" for the root itself
	Whiteout bool   // Path of the layers below is deleted
	Opaque   bool   // what the layers below have in the directory Path is deleted
	Header   *tar.Header
}

// Walk calls each for the entries of the layer read from r, in order, with the content of a regular file, and returns
// the layer's diffID. Nothing is unpacked. Errors of the archive are InvalidArgument and name the entry.
func Walk(ctx context.Context, r io.Reader, limits Limits, each func(e Entry, body io.Reader) error) (digest.Digest, error) {
	limits = limits.withDefaults()
	s, err := newStream(r, limits.Bytes)
	if err != nil {
		return "", err
	}
	defer s.stop()
	tr := tar.NewReader(s)
	for n := int64(0); ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", archiveError(err)
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if n >= limits.Entries {
			return "", errdefs.InvalidArgument("layer: more than %d entries, which is the limit", limits.Entries)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if err := checkGlobal(h); err != nil {
				return "", entryError(h.Name, err)
			}
			continue
		}
		e, known, err := entryOf(h)
		if err == nil && known {
			err = each(e, tr)
		}
		if err != nil {
			return "", entryError(h.Name, err)
		}
	}
	dgst, _, err := s.finish()
	return dgst, err
}

// entryOf reads an entry's name; known is false for aufs' own files.
func entryOf(h *tar.Header) (e Entry, known bool, err error) {
	rel, err := cleanName(h.Name)
	if err != nil {
		return Entry{}, false, err
	}
	dir, base := splitName(rel)
	name, marked := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !marked:
		return Entry{Path: rel, Header: h}, true, nil
	case name == opaqueName:
		return Entry{Path: dir, Opaque: true, Header: h}, true, nil
	case strings.HasPrefix(name, whiteoutPrefix):
		return Entry{}, false, nil
	case name == "" || name == "." || name == "..":
		return Entry{}, false, errdefs.InvalidArgument("whiteout of %q deletes nothing that can be named", name)
	}
	return Entry{Path: path.Join(dir, name), Whiteout: true, Header: h}, true, nil
}
