package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/api/docker"
)

// Info describes the engine and its machine.
func (c *Client) Info(ctx context.Context) (system.Info, error) {
	return get[system.Info](ctx, c, "/info", nil)
}

// ServerVersion tells the versions of the engine's parts.
func (c *Client) ServerVersion(ctx context.Context) (system.VersionResponse, error) {
	return get[system.VersionResponse](ctx, c, "/version", nil)
}

// DiskUsage is what system/df counts.
type DiskUsage struct {
	LayersSize int64 // of all images together, shared layers once
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

// DiskUsage asks what images, containers, volumes and the build cache take.
func (c *Client) DiskUsage(ctx context.Context) (DiskUsage, error) {
	var out DiskUsage
	err := c.call(ctx, request{method: http.MethodGet, path: "/system/df", most: legacy}, &out)
	return out, err
}

// EventsOptions of Events; Since and Until are seconds since the epoch, with a fraction.
type EventsOptions struct {
	Since, Until string
	Filters      docker.Filters
}

// Events calls each for every event until the engine ends the stream (Until), each fails, or ctx ends.
func (c *Client) Events(ctx context.Context, o EventsOptions, each func(events.Message) error) error {
	q := filtered(url.Values{}, o.Filters)
	setIf(q, "since", o.Since)
	setIf(q, "until", o.Until)
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/events", query: q})
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	return documents(ctx, res.Body, "events", each)
}

// BuildPrune empties the build cache and returns the bytes that were freed; all takes what is in use by images too.
func (c *Client) BuildPrune(ctx context.Context, all bool) (uint64, error) {
	q := url.Values{}
	flag(q, "all", all)
	r, err := post[build.CachePruneReport](ctx, c, "/build/prune", q, nil)
	return r.SpaceReclaimed, err
}
