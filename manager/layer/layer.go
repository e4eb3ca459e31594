// Package layer turns an OCI layer (a tar stream, plain, gzip or zstd) into a directory tree and back.
//
// The stream is hostile input. Every path of it is resolved by the kernel inside the target directory (openat2 with
// RESOLVE_IN_ROOT) and every object is made, owned and dated through descriptors, so that no name, link or race of
// another process reaches anything outside; sizes and counts are bounded by Limits.
package layer

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

// Target is the directory that a layer is applied to.
type Target struct {
	Dir string // host path of the snapshot's own directory, made by the snapshotter
	// Lower are the directories or EROFS images of the parent layers, nearest first; they give parents that a layer does not name
	// itself their owners and modes, and hard links their files. Only with Overlay.
	Lower []string
	// Below gives them later, in place of Lower: called once, when the first is needed, before directories get their
	// attributes at the latest. It may wait until they are whole.
	Below func() ([]string, error)
	// Overlay keeps whiteouts in overlayfs form (a character device 0:0; trusted.overlay.opaque="y"), since the
	// parents lie below as further layers. Otherwise Dir holds the parents' files already, and they are deleted.
	Overlay bool
	// Base says that nothing lies below and Dir is empty: whiteouts have nothing to delete.
	Base bool
}

// Limits bound what one layer may ask for; a zero field is its default.
type Limits struct {
	Bytes     int64 // uncompressed stream and, of sparse files, apparent size; default 256 GiB
	Entries   int64 // default 4,000,000
	DirMemory int64 // bytes of directory names kept until the end; default 64 MiB
}

const (
	defaultBytes     = 256 << 30
	defaultEntries   = 4_000_000
	defaultDirMemory = 64 << 20
	// maxName is Linux' PATH_MAX: no system call takes a longer name.
	maxName = 4096
	// maxZstdWindow is the window of `zstd --long=27`, the largest that zstd itself accepts without being told to.
	maxZstdWindow = 128 << 20
)

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = defaultBytes
	}
	if l.Entries == 0 {
		l.Entries = defaultEntries
	}
	if l.DirMemory == 0 {
		l.DirMemory = defaultDirMemory
	}
	return l
}

// Result is what an applied layer was.
type Result struct {
	DiffID  digest.Digest // sha256 of the uncompressed stream
	Size    int64         // bytes of the uncompressed stream
	Files   int64         // bytes of the regular files
	Entries int64
}

// Apply unpacks the layer read from r into target and returns its diffID, which the caller compares with the image
// config's before it trusts the tree. On an error the tree is half-made, and the caller removes the snapshot.
// Errors of the archive itself are InvalidArgument and name the entry. Nothing is synced: the caller does it once.
func Apply(ctx context.Context, target Target, r io.Reader, limits Limits) (Result, error) {
	limits = limits.withDefaults()
	t, err := openTree(target, limits)
	if err != nil {
		return Result{}, err
	}
	defer t.close()
	s, err := newStream(r, limits.Bytes)
	if err != nil {
		return Result{}, err
	}
	defer s.stop()
	if err := t.unpack(ctx, s); err != nil {
		return Result{}, err
	}
	if t.entries == 0 && s.read == 0 {
		return Result{}, errdefs.InvalidArgument("layer: empty stream, not a tar archive")
	}
	dgst, size, err := s.finish()
	if err != nil {
		return Result{}, err
	}
	return Result{DiffID: dgst, Size: size, Files: t.logical, Entries: t.entries}, nil
}
