package client

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/api/docker"
)

// VolumeList lists volumes.
func (c *Client) VolumeList(ctx context.Context, f docker.Filters) (volume.ListResponse, error) {
	return get[volume.ListResponse](ctx, c, "/volumes", filtered(url.Values{}, f))
}

// VolumeInspectRaw returns the engine's own description of a volume.
func (c *Client) VolumeInspectRaw(ctx context.Context, name string) (json.RawMessage, error) {
	return get[json.RawMessage](ctx, c, "/volumes/"+element(name), nil)
}

// VolumeCreate makes a volume; one that exists with the same driver is returned as it is.
func (c *Client) VolumeCreate(ctx context.Context, req volume.CreateRequest) (volume.Volume, error) {
	return post[volume.Volume](ctx, c, "/volumes/create", nil, req)
}

// VolumeRemove deletes a volume; with force an absent one is no error.
func (c *Client) VolumeRemove(ctx context.Context, name string, force bool) error {
	q := url.Values{}
	flag(q, "force", force)
	return c.delete(ctx, "/volumes/"+element(name), q, nil)
}

// VolumesPrune deletes the volumes that no container uses and the filters match.
func (c *Client) VolumesPrune(ctx context.Context, f docker.Filters) (volume.PruneReport, error) {
	return post[volume.PruneReport](ctx, c, "/volumes/prune", filtered(url.Values{}, f), nil)
}
