package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/registry"

	"github.com/conex-containers/conex/api/docker"
)

// CopyAuth are the credentials of a copy's two ends, as authconfig.Encode returns them, or "".
type CopyAuth struct{ Source, Target string }

// ImageCopy copies an image to a registry or the engine's store; archive is the source when that is one, else nil.
func (c *Client) ImageCopy(ctx context.Context, o docker.Copy, auth CopyAuth, archive io.Reader) (*Messages, error) {
	r, err := copyRequest(o, auth, archive)
	if err != nil {
		return nil, err
	}
	return c.messages(ctx, r)
}

// ImageCopyOut copies an image into an archive, which it returns as a stream; archive is as in ImageCopy.
func (c *Client) ImageCopyOut(ctx context.Context, o docker.Copy, auth CopyAuth, archive io.Reader) (io.ReadCloser, error) {
	r, err := copyRequest(o, auth, archive)
	if err != nil {
		return nil, err
	}
	res, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

func copyRequest(o docker.Copy, auth CopyAuth, archive io.Reader) (request, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return request{}, fmt.Errorf("copy: %w", err)
	}
	r := request{method: http.MethodPost, path: "/conex/copy", query: url.Values{"copy": {string(text)}}, header: http.Header{}}
	if auth.Source != "" {
		r.header[registry.AuthHeader] = []string{auth.Source}
	}
	if auth.Target != "" {
		r.header[docker.TargetAuthHeader] = []string{auth.Target}
	}
	if archive != nil {
		r.body = archive
		r.header["Content-Type"] = []string{"application/x-tar"}
	}
	return r, nil
}
