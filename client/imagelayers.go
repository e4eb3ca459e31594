package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/registry"

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

// ImageSBOM lists the software in an image as an SPDX 2.3 document in JSON; platform "" is the engine's.
func (c *Client) ImageSBOM(ctx context.Context, ref, platform string) (json.RawMessage, error) {
	q := url.Values{}
	platformQuery(q, platform)
	return get[json.RawMessage](ctx, c, "/conex/images/"+element(ref)+"/sbom", q)
}

// ImageVerify compares all that the engine has of an image with its digests, and the image with the engine's policy or
// with a key; with repair damaged blobs are thrown away and damaged snapshots unpacked again. auth is for the registry
// that has the signatures, as authconfig.Encode returns it, or "".
func (c *Client) ImageVerify(ctx context.Context, ref string, o docker.ImageVerify, auth string) (docker.ImageVerification, error) {
	q := url.Values{}
	flag(q, "repair", o.Repair)
	if o.Key != "" {
		q.Set("key", o.Key)
	}
	r := request{method: http.MethodPost, path: "/conex/images/" + element(ref) + "/verify", query: q}
	if auth != "" {
		r.header = http.Header{registry.AuthHeader: {auth}}
	}
	var out docker.ImageVerification
	err := c.call(ctx, r, &out)
	return out, err
}
