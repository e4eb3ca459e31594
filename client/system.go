package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// DiskUsage is what system/df counts, in one shape for all API versions.
type DiskUsage struct {
	LayersSize int64 // of all images together, shared layers once
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

// DiskUsage asks what images, containers, volumes and the build cache take.
func (c *Client) DiskUsage(ctx context.Context) (DiskUsage, error) {
	q := url.Values{}
	flag(q, "verbose", !VersionLess(c.Version(), "1.52"))
	raw, err := get[json.RawMessage](ctx, c, "/system/df", q)
	if err != nil {
		return DiskUsage{}, err
	}
	var out DiskUsage          // the shape until API 1.51
	var usage system.DiskUsage // the shape since 1.52
	if err := errors.Join(json.Unmarshal(raw, &out), json.Unmarshal(raw, &usage)); err != nil {
		return DiskUsage{}, fmt.Errorf("system df: %w", err)
	}
	if u := usage.ImageUsage; u != nil {
		out.Images, out.LayersSize = u.Items, u.TotalSize
	}
	if u := usage.ContainerUsage; u != nil {
		out.Containers = u.Items
	}
	if u := usage.VolumeUsage; u != nil {
		out.Volumes = u.Items
	}
	if u := usage.BuildCacheUsage; u != nil {
		out.BuildCache = u.Items
	}
	return out, nil
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
	for dec := json.NewDecoder(res.Body); ; {
		var m events.Message
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return interrupted(ctx, fmt.Errorf("events: %w", err))
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

// BuildPrune empties the build cache and returns the bytes that were freed; all takes what is in use by images too.
func (c *Client) BuildPrune(ctx context.Context, all bool) (uint64, error) {
	q := url.Values{}
	flag(q, "all", all)
	r, err := post[build.CachePruneReport](ctx, c, "/build/prune", q, nil)
	return r.SpaceReclaimed, err
}
