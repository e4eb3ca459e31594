package layer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

const (
	chunkSize  = 128 << 10
	chunkAhead = 8 // chunks decompressed ahead of the slower of the two readers
	// sniffSize is the length of the longest magic number looked at.
	sniffSize = 4
)

// Decompress returns the uncompressed form of r (gzip, zstd, or as it is), told by its first bytes. Close it.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	magic, err := br.Peek(sniffSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, errdefs.InvalidArgument("gzip: %w", err)
		}
		return z, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), isSkippable(magic):
		z, err := zstd.NewReader(br, zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, errdefs.InvalidArgument("zstd: %w", err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

// isSkippable tells zstd's skippable frames (RFC 8878 section 3.1.2), with which zstd:chunked streams may begin.
func isSkippable(magic []byte) bool {
	return len(magic) == 4 && magic[0]&0xf0 == 0x50 && magic[1] == 0x2a && magic[2] == 0x4d && magic[3] == 0x18
}

// stream decompresses in one goroutine, hashes in a second and is read by the unpacker in a third, each at its own
// pace within chunkAhead chunks: a layer's wall time is that of the slowest step, not of their sum.
//
//	r -> decompress -+-> hash
//	                 +-> Read (tar)
type stream struct {
	tar    chan *chunk
	hashed chan *chunk
	quit   chan struct{}
	once   sync.Once
	wait   sync.WaitGroup

	cur   *chunk
	off   int
	read  int64 // bytes that Read gave
	size  int64
	err   error // of the decompressor; set before tar is closed
	dgst  digest.Digest
	limit int64
}

type chunk struct {
	buf  []byte
	refs atomic.Int32
}

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, chunkSize)} }}

func (c *chunk) release() {
	if c.refs.Add(-1) == 0 {
		c.buf = c.buf[:cap(c.buf)]
		chunks.Put(c)
	}
}

func newStream(r io.Reader, limit int64) (*stream, error) {
	dec, err := Decompress(r)
	if err != nil {
		return nil, err
	}
	s := &stream{
		tar: make(chan *chunk, chunkAhead), hashed: make(chan *chunk, chunkAhead),
		quit: make(chan struct{}), limit: limit,
	}
	s.wait.Go(func() {
		s.err = s.decompress(dec)
		_ = dec.Close()
		close(s.hashed)
		close(s.tar)
	})
	s.wait.Go(s.hash)
	return s, nil
}

func (s *stream) decompress(dec io.Reader) error {
	for {
		c := chunks.Get().(*chunk)
		n, err := io.ReadFull(dec, c.buf)
		c.buf = c.buf[:n]
		c.refs.Store(2)
		s.size += int64(n)
		for _, out := range []chan *chunk{s.hashed, s.tar} {
			select {
			case out <- c:
			case <-s.quit:
				return io.ErrClosedPipe
			}
		}
		switch {
		case s.size > s.limit:
			return errdefs.InvalidArgument("layer has more than %d bytes uncompressed, which is the limit", s.limit)
		case errors.Is(err, io.EOF), n < chunkSize && errors.Is(err, io.ErrUnexpectedEOF) && atEnd(dec):
			return nil
		case err != nil:
			return fmt.Errorf("layer: decompress: %w", err)
		}
	}
}

// atEnd tells ReadFull's own ErrUnexpectedEOF (the stream ended, cleanly, within a chunk) from one of the
// decompressor (the compressed data ended early): a decompressor that failed keeps failing, one at its end says EOF.
func atEnd(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && errors.Is(err, io.EOF)
}

func (s *stream) hash() {
	h := sha256.New()
	for c := range s.hashed {
		_, _ = h.Write(c.buf)
		c.release()
	}
	s.dgst = digest.NewDigest(digest.SHA256, h)
}

// Read gives the uncompressed stream to the one unpacker.
func (s *stream) Read(p []byte) (int, error) {
	for s.cur == nil || s.off == len(s.cur.buf) {
		if s.cur != nil {
			s.cur.release()
			s.cur = nil
		}
		c, ok := <-s.tar
		if !ok {
			if s.err != nil {
				return 0, s.err
			}
			return 0, io.EOF
		}
		s.cur, s.off = c, 0
	}
	n := copy(p, s.cur.buf[s.off:])
	s.off += n
	s.read += int64(n)
	return n, nil
}

// finish reads what follows the archive's end (padding, which the diffID covers), and returns digest and size.
func (s *stream) finish() (digest.Digest, int64, error) {
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{s}); err != nil {
		return "", 0, err
	}
	s.wait.Wait()
	return s.dgst, s.size, nil
}

// stop ends the goroutines; the source's Read must return when its context ends, since it is waited for.
func (s *stream) stop() {
	s.once.Do(func() { close(s.quit) })
	for range s.tar { // the decompressor may be blocked on it
	}
	s.wait.Wait()
}
