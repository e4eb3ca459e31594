package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

// Blob is an open blob: an io.Reader, io.ReaderAt and io.Closer of known size. It stays readable after a Delete.
type Blob struct {
	file *os.File
	size int64
}

// Reader opens a blob. NotFound when it is not there.
func (s *Store) Reader(ctx context.Context, d digest.Digest) (*Blob, error) {
	info, err := s.Info(ctx, d)
	if err != nil {
		return nil, err
	}
	f, err := s.open(d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errdefs.NotFound("blob %s: its file is gone: pull the image again", d)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	st, err := f.Stat()
	if err == nil && st.Size() != info.Size {
		err = fmt.Errorf("the file has %d bytes where %d were written: remove the image and pull it again", st.Size(), info.Size)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	return &Blob{file: f, size: info.Size}, nil
}

// open finds the file of a blob that may be on its way from ingest/ to blobs/ just now.
func (s *Store) open(d digest.Digest) (*os.File, error) {
	s.mu.Lock()
	p := s.pending[d]
	s.mu.Unlock()
	if p != nil {
		if f, err := os.Open(p.path); err == nil {
			return f, nil
		}
	}
	return os.Open(s.path(d))
}

// Read reads on from where the last Read ended.
func (b *Blob) Read(p []byte) (int, error) { return b.file.Read(p) }

// ReadAt reads at an offset.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) { return b.file.ReadAt(p, off) }

// WriteTo copies the rest of the blob to w, inside the kernel where w lets it.
func (b *Blob) WriteTo(w io.Writer) (int64, error) { return b.file.WriteTo(w) }

// Size is the blob's size in bytes.
func (b *Blob) Size() int64 { return b.size }

// Close ends the reading.
func (b *Blob) Close() error { return b.file.Close() }

// ReadAll returns a blob's content when it has at most max bytes, with its digest checked: these are manifests and
// configs, on which decisions are made. InvalidArgument when it is larger.
func (s *Store) ReadAll(ctx context.Context, d digest.Digest, max int64) ([]byte, error) {
	b, err := s.Reader(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	if b.size > max {
		return nil, errdefs.InvalidArgument("blob %s has %d bytes, more than the %d that are allowed for its kind", d, b.size, max)
	}
	data := make([]byte, b.size)
	if _, err := io.ReadFull(b.file, data); err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	if got := d.Algorithm().FromBytes(data); got != d {
		return nil, fmt.Errorf("blob %s: its content changed on the disk (now %s): remove the image and pull it again", d, got)
	}
	return data, nil
}
