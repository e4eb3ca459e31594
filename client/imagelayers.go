package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/conex-containers/conex/api/docker"
)

// ImageRaw returns the bytes that an image's digest names, its manifest or index; with a platform that one's manifest.
func (c *Client) ImageRaw(ctx context.Context, ref, platform string) (json.RawMessage, error) {
	q := url.Values{}
	platformQuery(q, platform)
	return get[json.RawMessage](ctx, c, "/conex/images/"+element(ref)+"/raw", q)
}

// ImageTree shows the layers of one image, or with "" of all.
func (c *Client) ImageTree(ctx context.Context, ref string) (docker.ImageTree, error) {
	if ref == "" {
		return get[docker.ImageTree](ctx, c, "/conex/images/tree", nil)
	}
	return get[docker.ImageTree](ctx, c, "/conex/images/"+element(ref)+"/tree", nil)
}

// ImageFiles tells what each layer of an image did to its files; the files of one layer, counted from 1, or with 0 all.
func (c *Client) ImageFiles(ctx context.Context, ref, platform string, layer int) (docker.ImageFiles, error) {
	q := url.Values{}
	platformQuery(q, platform)
	if layer != 0 {
		q.Set("layer", strconv.Itoa(layer))
	}
	return get[docker.ImageFiles](ctx, c, "/conex/images/"+element(ref)+"/files", q)
}

// ImageVerify compares all that the engine has of an image with its digests; with repair damaged blobs are thrown away
// and damaged snapshots unpacked again.
func (c *Client) ImageVerify(ctx context.Context, ref string, repair bool) (docker.ImageVerification, error) {
	q := url.Values{}
	flag(q, "repair", repair)
	var out docker.ImageVerification
	err := c.call(ctx, request{method: http.MethodPost, path: "/conex/images/" + element(ref) + "/verify", query: q}, &out)
	return out, err
}
