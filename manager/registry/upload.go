package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// PutBlob uploads a blob (one POST, one PUT), unless the registry can mount it from one of its other repositories,
// which it returns then. open gives the content from its beginning, and again for another attempt.
func (r *Repository) PutBlob(ctx context.Context, desc ocispec.Descriptor, from []string, open func() (io.ReadCloser, error)) (mounted string, err error) {
	ep, err := r.target()
	if err != nil {
		return "", err
	}
	location := (*url.URL)(nil)
	for _, other := range from {
		if other == r.path {
			continue
		}
		at, ok, err := r.startUpload(ctx, ep, "?mount="+url.QueryEscape(desc.Digest.String())+"&from="+url.QueryEscape(other),
			[]string{r.scopePush(), "repository:" + other + ":pull"})
		if err != nil {
			break // no such source, or no access to it: it is an ordinary upload then
		}
		if ok {
			return other, nil
		}
		location = at
		break // an upload has begun instead
	}
	for try := 0; ; try++ {
		if location == nil {
			if location, _, err = r.startUpload(ctx, ep, "", []string{r.scopePush()}); err != nil {
				return "", err
			}
		}
		err = r.finishUpload(ctx, ep, location, desc, open)
		if err == nil || ctx.Err() != nil || try+1 >= attempts || !again(err) {
			return "", err
		}
		location = nil // an upload that broke off is begun anew
		if err := r.client.pause(ctx, try, 0); err != nil {
			return "", err
		}
	}
}

// again reports whether an upload that ended with err may work the next time.
func again(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return retryable(e.Status)
	}
	return transient(err)
}

// startUpload opens an upload and returns its location, or true when the blob was mounted.
func (r *Repository) startUpload(ctx context.Context, ep *endpoint, query string, scope []string) (*url.URL, bool, error) {
	resp, err := r.do(ctx, ep, call{
		method: http.MethodPost, path: "blobs/uploads/" + query, scope: scope, retry: true,
		body: func() (io.ReadCloser, error) { return http.NoBody, nil },
	})
	if err != nil {
		return nil, false, err
	}
	drain(resp)
	if resp.StatusCode == http.StatusCreated {
		return nil, true, nil
	}
	at, err := resp.Location() // relative ones are resolved
	if err != nil || (at.Scheme != "http" && at.Scheme != "https") {
		return nil, false, errdefs.Unavailable("registry %s: repository %s: began an upload without a location", r.domain, r.path)
	}
	if strings.HasPrefix(resp.Request.URL.Scheme, "https") && at.Scheme == "http" {
		at.Scheme = "https" // registries behind a TLS proxy that do not know their own address
	}
	return at, false, nil
}

func (r *Repository) finishUpload(ctx context.Context, ep *endpoint, at *url.URL, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
	target := *at
	q := target.Query()
	q.Set("digest", desc.Digest.String())
	target.RawQuery = q.Encode()
	resp, err := r.do(ctx, ep, call{
		method: http.MethodPut, at: &target, body: open, length: desc.Size, scope: []string{r.scopePush()},
		header: http.Header{"Content-Type": {"application/octet-stream"}},
	})
	if err != nil {
		return err
	}
	drain(resp)
	if got := digest.Digest(resp.Header.Get("Docker-Content-Digest")); got.Validate() == nil && got != desc.Digest {
		return errdefs.Unavailable("registry %s: repository %s: stored %s as %s", r.domain, r.path, desc.Digest, got)
	}
	return nil
}
