package client

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/api/docker"
)

// NetworkList lists networks.
func (c *Client) NetworkList(ctx context.Context, f docker.Filters) ([]network.Summary, error) {
	return get[[]network.Summary](ctx, c, "/networks", filtered(url.Values{}, f))
}

// NetworkInspectRaw returns the engine's own description of a network.
func (c *Client) NetworkInspectRaw(ctx context.Context, ref string, verbose bool) (json.RawMessage, error) {
	q := url.Values{}
	flag(q, "verbose", verbose)
	return get[json.RawMessage](ctx, c, "/networks/"+element(ref), q)
}

// NetworkCreate makes a network.
func (c *Client) NetworkCreate(ctx context.Context, req network.CreateRequest) (network.CreateResponse, error) {
	return post[network.CreateResponse](ctx, c, "/networks/create", nil, req)
}

// NetworkRemove deletes a network.
func (c *Client) NetworkRemove(ctx context.Context, ref string) error {
	return c.delete(ctx, "/networks/"+element(ref), nil, nil)
}

// NetworkConnect joins a container to a network.
func (c *Client) NetworkConnect(ctx context.Context, ref string, req network.ConnectRequest) error {
	return c.post(ctx, "/networks/"+element(ref)+"/connect", nil, req, nil)
}

// NetworkDisconnect takes a container out of a network.
func (c *Client) NetworkDisconnect(ctx context.Context, ref string, req network.DisconnectRequest) error {
	return c.post(ctx, "/networks/"+element(ref)+"/disconnect", nil, req, nil)
}

// NetworksPrune deletes the networks that no container uses and the filters match.
func (c *Client) NetworksPrune(ctx context.Context, f docker.Filters) (network.PruneReport, error) {
	return post[network.PruneReport](ctx, c, "/networks/prune", filtered(url.Values{}, f), nil)
}
