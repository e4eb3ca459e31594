package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

const (
	// chunkSize is what an upload is cut into after its first try broke off or was too large for a proxy.
	chunkSize = 16 << 20
	// minChunk ends the halving for proxies with a small limit.
	minChunk = 64 << 10
)

// PutBlob uploads a blob, unless the registry can mount it from one of its other repositories, which it returns then.
// open gives the content from its beginning, and again for another attempt.
//
// A blob goes in one piece (one POST, one PUT). When that breaks off, or something on the way refuses so large a body
// (413), it goes in chunks, of which each one is tried again by itself where the registry can tell what it has.
func (r *Repository) PutBlob(ctx context.Context, desc ocispec.Descriptor, from []string, open func() (io.ReadCloser, error)) (mounted string, err error) {
	ep, err := r.target()
	if err != nil {
		return "", err
	}
	u := &upload{repo: r, ep: ep, desc: desc, open: open}
	for _, other := range from {
		if other == r.path {
			continue
		}
		ok, err := u.start(ctx, "?mount="+url.QueryEscape(desc.Digest.String())+"&from="+url.QueryEscape(other),
			[]string{r.scopePush(), "repository:" + other + ":pull"})
		if err == nil && ok {
			return other, nil
		}
		break // an upload has begun instead, or there is no such source, or no access to it
	}
	return "", u.run(ctx)
}

// upload is one blob on its way to a registry.
type upload struct {
	repo *Repository
	ep   *endpoint
	desc ocispec.Descriptor
	open func() (io.ReadCloser, error)

	at    *url.URL // where it goes on; nil: it is to be begun
	off   int64    // bytes that the registry has taken
	best  int64    // the most it ever had
	chunk int64    // 0: all in one
}

func (u *upload) run(ctx context.Context) error {
	for try := 0; ; try++ {
		err := u.once(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case u.tooLarge(err):
			try-- // it is bounded by minChunk
			continue
		case !again(err) && !u.lost(err):
			return err
		}
		if u.off > u.best {
			u.best, try = u.off, 0
		}
		if try+1 >= u.repo.client.config.Attempts {
			return err
		}
		if err := u.repo.client.pause(ctx, try, 0); err != nil {
			return err
		}
		u.locate(ctx)
	}
}

// lost reports whether err says that the registry and this upload do not agree on where it stands.
func (u *upload) lost(err error) bool {
	var e *Error
	if u.off == 0 || !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
		return true
	}
	return false
}

// again reports whether an upload that ended with err may work the next time.
func again(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return retryable(e.Status)
	}
	return transient(err)
}

// tooLarge makes the chunks smaller when that is what err is about, and reports whether to begin again.
func (u *upload) tooLarge(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusRequestEntityTooLarge {
		return false
	}
	if u.chunk == 0 {
		u.chunk = min(2*chunkSize, u.desc.Size)
	}
	u.at, u.off, u.chunk = nil, 0, u.chunk/2
	return u.chunk >= minChunk
}

// locate finds out how much of a broken upload the registry has (distribution-spec, "Pushing a blob in chunks"), or
// has it begun anew.
func (u *upload) locate(ctx context.Context) {
	at := u.at
	u.at, u.off = nil, 0
	if u.chunk == 0 && u.desc.Size > chunkSize {
		u.chunk = chunkSize
	}
	if at == nil || u.chunk == 0 {
		return
	}
	resp, err := u.repo.do(ctx, u.ep, call{method: http.MethodGet, at: at, scope: []string{u.repo.scopePush()}, retry: true})
	if err != nil {
		return
	}
	drain(resp)
	end, ok := rangeEnd(resp.Header.Get("Range"))
	next, err := u.next(resp)
	if ok && err == nil && end < u.desc.Size {
		u.at, u.off = next, end+1
	}
}

// rangeEnd reads the last number of "0-1023", which distribution writes "bytes=0-1023" in places.
func rangeEnd(s string) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	return n, ok && first == "0" && err == nil && n >= 0
}

// once goes from where the upload stands to its end.
func (u *upload) once(ctx context.Context) error {
	if u.at == nil {
		if _, err := u.start(ctx, "", []string{u.repo.scopePush()}); err != nil {
			return err
		}
	}
	if u.chunk == 0 {
		return u.finish(ctx, u.open, u.desc.Size)
	}
	for u.off < u.desc.Size {
		if err := u.patch(ctx, min(u.chunk, u.desc.Size-u.off)); err != nil {
			return err
		}
	}
	return u.finish(ctx, func() (io.ReadCloser, error) { return http.NoBody, nil }, 0)
}

// start opens an upload, or reports that the blob was mounted.
func (u *upload) start(ctx context.Context, query string, scope []string) (bool, error) {
	resp, err := u.repo.do(ctx, u.ep, call{
		method: http.MethodPost, path: "blobs/uploads/" + query, scope: scope, retry: true,
		body: func() (io.ReadCloser, error) { return http.NoBody, nil },
	})
	if err != nil {
		return false, err
	}
	drain(resp)
	if resp.StatusCode == http.StatusCreated {
		return true, nil
	}
	u.at, err = u.next(resp)
	u.off = 0
	return false, err
}

// next is where an answer says that the upload goes on; relative locations are resolved.
func (u *upload) next(resp *http.Response) (*url.URL, error) {
	at, err := resp.Location()
	if err != nil || (at.Scheme != "http" && at.Scheme != "https") {
		return nil, errdefs.Unavailable("registry %s: repository %s: goes on with an upload without a location", u.ep.host, u.repo.path)
	}
	if resp.Request.URL.Scheme == "https" && at.Scheme == "http" {
		at.Scheme = "https" // registries behind a TLS proxy that do not know their own address
	}
	return at, nil
}

// patch sends the next n bytes.
func (u *upload) patch(ctx context.Context, n int64) error {
	resp, err := u.repo.do(ctx, u.ep, call{
		method: http.MethodPatch, at: u.at, length: n, scope: []string{u.repo.scopePush()},
		body: func() (io.ReadCloser, error) { return u.part(n) },
		header: http.Header{
			"Content-Type":  {"application/octet-stream"},
			"Content-Range": {strconv.FormatInt(u.off, 10) + "-" + strconv.FormatInt(u.off+n-1, 10)},
		},
	})
	if err != nil {
		return err
	}
	drain(resp)
	at, err := u.next(resp)
	if err != nil {
		return err
	}
	if end, ok := rangeEnd(resp.Header.Get("Range")); ok && end != u.off+n-1 {
		u.at = nil
		return errdefs.Unavailable("registry %s: repository %s: blob %s: has %d bytes of the upload where %d were sent", u.ep.host, u.repo.path, u.desc.Digest, end+1, u.off+n)
	}
	u.at, u.off = at, u.off+n
	return nil
}

// part opens the n bytes from the current offset on.
func (u *upload) part(n int64) (io.ReadCloser, error) {
	r, err := u.open()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, u.off); err != nil {
		return nil, errors.Join(fmt.Errorf("blob %s: %w", u.desc.Digest, err), r.Close())
	}
	return &limitedBody{io.LimitReader(r, n), r}, nil
}

type limitedBody struct {
	io.Reader
	io.Closer
}

// finish sends body as the end of the upload, and the digest.
func (u *upload) finish(ctx context.Context, body func() (io.ReadCloser, error), length int64) error {
	target := *u.at
	q := target.Query()
	q.Set("digest", u.desc.Digest.String())
	target.RawQuery = q.Encode()
	resp, err := u.repo.do(ctx, u.ep, call{
		method: http.MethodPut, at: &target, body: body, length: length, scope: []string{u.repo.scopePush()},
		header: http.Header{"Content-Type": {"application/octet-stream"}},
	})
	if err != nil {
		return err
	}
	drain(resp)
	if got := digest.Digest(resp.Header.Get("Docker-Content-Digest")); got.Validate() == nil && got != u.desc.Digest {
		return errdefs.Unavailable("registry %s: repository %s: stored %s as %s", u.ep.host, u.repo.path, u.desc.Digest, got)
	}
	return nil
}
