package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// flushEvery is how many bytes are written before the kernel is told to begin their write-back, so that the sync at
// the end finds little left to do.
const flushEvery = 8 << 20

// Writer is one ingest: it hashes what is written and turns it into a blob by Commit. Not for concurrent use.
type Writer struct {
	store  *Store
	want   ocispec.Descriptor
	name   string // file name under ingest/
	file   *os.File
	hash   digest.Digester
	offset int64
	begun  int64 // write-back begun up to here
	free   func()
	done   bool
}

// Writer opens the ingest called ref for the blob want. Digest and Size of want may be zero when they are not known.
// Bytes of an earlier try at the same ref and digest are kept: Offset tells how many, the caller continues there or
// calls Truncate(0).
//
// AlreadyExists when the blob is there. While another Writer has the same ingest the call waits for its end, then
// either the blob is there or its bytes are taken over; Unavailable when ctx ends first.
func (s *Store) Writer(ctx context.Context, ref string, want ocispec.Descriptor) (*Writer, error) {
	algorithm := digest.SHA256
	if want.Digest != "" {
		if err := check(want.Digest); err != nil {
			return nil, err
		}
		algorithm = want.Digest.Algorithm()
	}
	// The file's name covers the digest too: bytes of a tag's old layer are no beginning of its new one.
	sum := sha256.Sum256([]byte(ref + "\x00" + want.Digest.String()))
	name := hex.EncodeToString(sum[:])
	if err := s.absent(ctx, want.Digest); err != nil {
		return nil, err
	}
	free, err := s.claim(ctx, ref, name)
	if err != nil {
		return nil, err
	}
	if err := s.absent(ctx, want.Digest); err != nil { // while this call waited
		free()
		return nil, err
	}
	w := &Writer{store: s, want: want, name: name, hash: algorithm.Digester(), free: free}
	if err := w.resume(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("ingest %s: %w", ref, err)
	}
	return w, nil
}

// absent is AlreadyExists when the blob is there.
func (s *Store) absent(ctx context.Context, d digest.Digest) error {
	if d == "" {
		return nil
	}
	_, err := s.Info(ctx, d)
	if err == nil {
		return errdefs.AlreadyExists("blob %s: already exists", d)
	}
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// claim waits until no other Writer has the ingest.
func (s *Store) claim(ctx context.Context, ref, name string) (free func(), err error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, errdefs.Unavailable("content store: is closed")
		}
		other := s.writers[name]
		s.mu.Unlock()
		if other == nil {
			if free, ok := s.tryClaim(name); ok {
				return free, nil
			}
			continue
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, errdefs.Unavailable("ingest %s: another client is writing it: %w", ref, ctx.Err())
		}
	}
}

func (s *Store) tryClaim(name string) (free func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers[name] != nil {
		return nil, false
	}
	ended := make(chan struct{})
	s.writers[name] = ended
	return func() {
		s.mu.Lock()
		delete(s.writers, name)
		s.mu.Unlock()
		close(ended)
	}, true
}

func (w *Writer) path() string { return filepath.Join(w.store.root, "ingest", w.name) }

// resume opens the ingest's file and hashes what is in it.
func (w *Writer) resume() error {
	var err error
	w.file, err = os.OpenFile(w.path(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if w.offset, err = io.Copy(w.hash.Hash(), w.file); err != nil {
		return err
	}
	w.begun = w.offset
	if w.want.Size > 0 && w.offset > w.want.Size {
		return w.Truncate(0)
	}
	return nil
}

// Offset is the number of bytes that are there.
func (w *Writer) Offset() int64 { return w.offset }

// Digest is the digest of the bytes so far.
func (w *Writer) Digest() digest.Digest { return w.hash.Digest() }

// Write appends p. Bytes beyond the wanted size are an error: a server must not fill the disk with more than it
// announced.
func (w *Writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errdefs.FailedPrecondition("blob %s: write after the end", w.want.Digest)
	}
	if w.want.Size > 0 && w.offset+int64(len(p)) > w.want.Size {
		return 0, errdefs.InvalidArgument("blob %s: more than the %d bytes that were announced", w.want.Digest, w.want.Size)
	}
	n, err := w.file.Write(p)
	_, _ = w.hash.Hash().Write(p[:n])
	w.offset += int64(n)
	if err != nil {
		return n, w.diskError(err)
	}
	if w.offset-w.begun >= flushEvery {
		// Only a hint: an error shows at the sync.
		_ = unix.SyncFileRange(int(w.file.Fd()), w.begun, w.offset-w.begun, unix.SYNC_FILE_RANGE_WRITE)
		w.begun = w.offset
	}
	return n, nil
}

// Truncate throws away what was written. Only 0 is possible: a hash does not run backwards.
func (w *Writer) Truncate(size int64) error {
	if size != 0 {
		return errdefs.InvalidArgument("blob %s: truncate to %d: only 0 is possible", w.want.Digest, size)
	}
	if err := w.file.Truncate(0); err != nil {
		return fmt.Errorf("blob %s: %w", w.want.Digest, err)
	}
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("blob %s: %w", w.want.Digest, err)
	}
	w.hash.Hash().Reset()
	w.offset, w.begun = 0, 0
	return nil
}

// Commit turns the bytes into the blob and ends the Writer. A blob that is there already is success. It is durable
// after the store's next Sync.
//
// InvalidArgument names both digests, or both sizes, when they differ; wrong bytes are thrown away, too few are
// kept for a later try.
func (w *Writer) Commit(ctx context.Context, labels map[string]string) error {
	if w.done {
		return errdefs.FailedPrecondition("blob %s: commit after the end", w.want.Digest)
	}
	if err := ctx.Err(); err != nil {
		return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("blob %s: %w", w.want.Digest, err))
	}
	if w.want.Size > 0 && w.offset != w.want.Size {
		err := errdefs.InvalidArgument("blob %s: %d bytes came where %d were announced", w.want.Digest, w.offset, w.want.Size)
		return errors.Join(err, w.Close())
	}
	got := w.hash.Digest()
	if w.want.Digest != "" && got != w.want.Digest {
		err := errdefs.InvalidArgument("blob %s: the content that came has the digest %s", w.want.Digest, got)
		return errors.Join(err, w.Abort())
	}
	p := &pendingBlob{
		digest: got, size: w.offset, labels: merge(nil, labels), createdAt: time.Now().UTC(),
		path: w.path(), file: w.file, free: w.free, done: make(chan struct{}),
	}
	w.done = true
	return w.store.enqueue(ctx, p)
}

// Close ends the Writer without a blob and keeps the bytes for a later try; after Commit or Abort it does nothing.
func (w *Writer) Close() error {
	if w.done {
		return nil
	}
	w.done = true
	var err error
	if w.file != nil {
		if err = w.file.Close(); w.offset == 0 {
			_ = os.Remove(w.path())
		}
	}
	w.free()
	return err
}

// Abort ends the Writer and throws its bytes away; after Commit or Close it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	err := errors.Join(os.Remove(w.path()), w.file.Close())
	w.free()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (w *Writer) diskError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return errdefs.With(errdefs.ErrResourceExhausted,
			fmt.Errorf("blob %s: no space left under %s: remove images (prune) or make room: %w", w.want.Digest, w.store.root, err))
	}
	return fmt.Errorf("blob %s: %w", w.want.Digest, err)
}

// WriteBytes makes a blob of data and returns its descriptor; one that is there gets the labels added.
func (s *Store) WriteBytes(ctx context.Context, mediaType string, data []byte, labels map[string]string) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	w, err := s.Writer(ctx, "bytes", desc)
	if errdefs.IsAlreadyExists(err) {
		if len(labels) > 0 {
			_, err = s.Update(ctx, desc.Digest, labels)
			return desc, err
		}
		return desc, nil
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if w.Offset() > 0 {
		if err := w.Truncate(0); err != nil {
			return ocispec.Descriptor{}, errors.Join(err, w.Abort())
		}
	}
	if _, err := w.Write(data); err != nil {
		return ocispec.Descriptor{}, errors.Join(err, w.Abort())
	}
	return desc, w.Commit(ctx, labels)
}
