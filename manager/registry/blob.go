package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// maxResumes bounds how often one blob's download is taken up again in all; without progress it is Config.Attempts.
const maxResumes = 100

// Blob opens the blob's content from offset on. The reader takes a broken download up again where it stopped; it
// gives exactly desc.Size-offset bytes or an error, and never verifies them: the content store does.
func (r *Repository) Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, errdefs.InvalidArgument("blob %q: %w", desc.Digest, err)
	}
	b := &blob{repo: r, ctx: ctx, desc: desc, off: offset}
	if offset > 0 && offset == desc.Size {
		return b, nil // all of it is there; a registry would call the range not satisfiable
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// blob is a download that survives broken connections.
type blob struct {
	repo   *Repository
	ctx    context.Context
	desc   ocispec.Descriptor
	off    int64
	ep     *endpoint // who was asked last
	body   io.ReadCloser
	cancel context.CancelFunc

	resumes int // in all
	idle    int // since the last byte
	turn    int // whom to ask first
}

// open asks all sources for the rest of the blob.
func (b *blob) open() error {
	list, err := b.repo.who(canPull)
	if err != nil {
		return err
	}
	for i := range list {
		ep := list[(i+b.turn)%len(list)]
		if err = b.openAt(ep); err == nil || b.ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (b *blob) openAt(ep *endpoint) error {
	ctx, cancel := context.WithCancel(b.ctx)
	c := call{method: http.MethodGet, path: "blobs/" + b.desc.Digest.String(), header: http.Header{}, scope: []string{b.repo.scopePull()}, retry: true}
	if b.off > 0 {
		c.header.Set("Range", "bytes="+strconv.FormatInt(b.off, 10)+"-")
	}
	b.ep = ep
	resp, err := b.repo.do(ctx, ep, c)
	if err != nil {
		cancel()
		return fmt.Errorf("blob %s: %w", b.desc.Digest, err)
	}
	if err := b.check(ep, resp); err != nil {
		_ = resp.Body.Close()
		cancel()
		return err
	}
	b.body, b.cancel = resp.Body, cancel
	return nil
}

// check makes sure that the body begins where it should, and is as long as the descriptor says.
func (b *blob) check(ep *endpoint, resp *http.Response) error {
	skip := int64(0)
	if resp.StatusCode == http.StatusPartialContent {
		if start, ok := rangeStart(resp.Header.Get("Content-Range")); !ok || start != b.off {
			return b.wrong(ep, "asked from byte %d, got %q", b.off, printable(resp.Header.Get("Content-Range")))
		}
	} else {
		skip = b.off // the whole blob, though less was asked for
	}
	if n := resp.ContentLength; n >= 0 && n != b.desc.Size-b.off+skip {
		return b.wrong(ep, "the registry has %d bytes of it, the manifest says %d", n+b.off-skip, b.desc.Size)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, skip); err != nil {
		return b.repo.broken(ep, fmt.Errorf("blob %s: %w", b.desc.Digest, err))
	}
	return nil
}

func (b *blob) wrong(ep *endpoint, format string, a ...any) error {
	return errdefs.Unavailable("registry %s: repository %s: blob %s: %s", ep.host, b.repo.path, b.desc.Digest, fmt.Sprintf(format, a...))
}

// rangeStart reads the first number of "bytes 100-199/200".
func rangeStart(s string) (int64, bool) {
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, false
	}
	first, _, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return n, ok && err == nil
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for {
		if err := b.ctx.Err(); err != nil {
			return 0, err
		}
		if b.body == nil && b.off == b.desc.Size {
			return 0, io.EOF
		}
		n, err := b.readOnce(p)
		if b.off += int64(n); b.off > b.desc.Size {
			return 0, b.wrong(b.ep, "more bytes came than the %d that the manifest says", b.desc.Size)
		}
		if n > 0 {
			b.idle = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && b.off == b.desc.Size {
			return 0, io.EOF
		}
		if err := b.resume(err); err != nil {
			return 0, err
		}
	}
}

// readOnce reads under the stall timer: a connection that is silent for too long counts as broken.
func (b *blob) readOnce(p []byte) (int, error) {
	if b.body == nil {
		return 0, io.ErrUnexpectedEOF
	}
	timer := time.AfterFunc(b.repo.client.config.Timeouts.Stall, b.cancel)
	defer timer.Stop()
	n, err := b.body.Read(p)
	if n > 0 && err != nil && !errors.Is(err, io.EOF) {
		err = nil // it comes back at the next Read
	}
	return n, err
}

// resume opens the blob again at the current offset, a bounded number of times.
func (b *blob) resume(cause error) error {
	b.closeBody()
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	broken := b.repo.broken(b.ep, fmt.Errorf("blob %s: broke off at byte %d of %d: %w", b.desc.Digest, b.off, b.desc.Size, cause))
	b.resumes++
	if b.idle++; b.idle >= b.repo.client.config.Attempts || b.resumes > maxResumes {
		return broken
	}
	if b.idle > 1 {
		b.turn++ // a mirror can be broken in the same place for ever
	}
	if err := b.repo.client.pause(b.ctx, b.idle-1, 0); err != nil {
		return err
	}
	return b.open()
}

func (b *blob) closeBody() {
	if b.body != nil {
		b.cancel()
		_ = b.body.Close()
		b.body = nil
	}
}

// Close implements io.Closer.
func (b *blob) Close() error {
	b.closeBody()
	return nil
}

// HasBlob asks whether the registry has the blob.
func (r *Repository) HasBlob(ctx context.Context, dgst digest.Digest) (bool, error) {
	ep, err := r.target()
	if err != nil {
		return false, err
	}
	resp, err := r.do(ctx, ep, call{
		method: http.MethodHead, path: "blobs/" + dgst.String(), scope: []string{r.scopePush()}, retry: true,
	})
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	drain(resp)
	return true, nil
}
