package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
)

// ContainerCreate makes a container; name "" lets the engine choose, platform "" takes the engine's own.
func (c *Client) ContainerCreate(ctx context.Context, name, platform string, req *container.CreateRequest) (container.CreateResponse, error) {
	q := url.Values{}
	setIf(q, "name", name)
	setIf(q, "platform", platform)
	body, err := sparse(req)
	if err != nil {
		return container.CreateResponse{}, fmt.Errorf("create: encode: %w", err)
	}
	var out container.CreateResponse
	err = c.call(ctx, request{method: http.MethodPost, path: "/containers/create", query: q, body: body}, &out)
	return out, err
}

// ContainerStart starts a container; one that runs already is no error.
func (c *Client) ContainerStart(ctx context.Context, ref string) error {
	return c.post(ctx, "/containers/"+element(ref)+"/start", nil, nil, nil)
}

// ContainerStop asks with signal ("" the container's own) and kills after timeout seconds (nil: the container's own).
func (c *Client) ContainerStop(ctx context.Context, ref, signal string, timeout *int) error {
	return c.post(ctx, "/containers/"+element(ref)+"/stop", stopQuery(signal, timeout), nil, nil)
}

// ContainerRestart is ContainerStop and ContainerStart in one.
func (c *Client) ContainerRestart(ctx context.Context, ref, signal string, timeout *int) error {
	return c.post(ctx, "/containers/"+element(ref)+"/restart", stopQuery(signal, timeout), nil, nil)
}

func stopQuery(signal string, timeout *int) url.Values {
	q := url.Values{}
	setIf(q, "signal", signal)
	if timeout != nil {
		q.Set("t", strconv.Itoa(*timeout))
	}
	return q
}

// ContainerKill sends signal ("" is KILL) to the container's first process.
func (c *Client) ContainerKill(ctx context.Context, ref, signal string) error {
	q := url.Values{}
	setIf(q, "signal", signal)
	return c.post(ctx, "/containers/"+element(ref)+"/kill", q, nil, nil)
}

// RemoveOptions of ContainerRemove.
type RemoveOptions struct {
	Force   bool // kill it first
	Volumes bool // and its anonymous volumes
	Link    bool // only the link named by ref
}

// ContainerRemove deletes a container.
func (c *Client) ContainerRemove(ctx context.Context, ref string, o RemoveOptions) error {
	q := url.Values{}
	flag(q, "force", o.Force)
	flag(q, "v", o.Volumes)
	flag(q, "link", o.Link)
	return c.delete(ctx, "/containers/"+element(ref), q, nil)
}

// ContainerPause freezes all processes of a container.
func (c *Client) ContainerPause(ctx context.Context, ref string) error {
	return c.post(ctx, "/containers/"+element(ref)+"/pause", nil, nil, nil)
}

// ContainerUnpause thaws them.
func (c *Client) ContainerUnpause(ctx context.Context, ref string) error {
	return c.post(ctx, "/containers/"+element(ref)+"/unpause", nil, nil, nil)
}

// ContainerRename gives a container another name.
func (c *Client) ContainerRename(ctx context.Context, ref, name string) error {
	return c.post(ctx, "/containers/"+element(ref)+"/rename", url.Values{"name": {name}}, nil, nil)
}

// ContainerUpdate changes limits and the restart policy.
func (c *Client) ContainerUpdate(ctx context.Context, ref string, cfg container.UpdateConfig) (container.UpdateResponse, error) {
	return post[container.UpdateResponse](ctx, c, "/containers/"+element(ref)+"/update", nil, cfg)
}

// ContainersPrune deletes all stopped containers that the filters match.
func (c *Client) ContainersPrune(ctx context.Context, f docker.Filters) (container.PruneReport, error) {
	return post[container.PruneReport](ctx, c, "/containers/prune", filtered(url.Values{}, f), nil)
}

// ContainerList lists containers.
func (c *Client) ContainerList(ctx context.Context, o docker.ListOptions) ([]container.Summary, error) {
	q := filtered(url.Values{}, o.Filters)
	flag(q, "all", o.All)
	flag(q, "size", o.Size)
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	return get[[]container.Summary](ctx, c, "/containers/json", q)
}

// ContainerInspect returns all that is known of a container.
func (c *Client) ContainerInspect(ctx context.Context, ref string) (container.InspectResponse, error) {
	return get[container.InspectResponse](ctx, c, "/containers/"+element(ref)+"/json", nil)
}

// ContainerInspectRaw is ContainerInspect as the engine's own bytes, with sizes when asked for. It has the fields of
// API 1.51, NetworkSettings.IPAddress among them, which newer versions leave out.
func (c *Client) ContainerInspectRaw(ctx context.Context, ref string, size bool) (json.RawMessage, error) {
	q := url.Values{}
	flag(q, "size", size)
	var out json.RawMessage
	err := c.call(ctx, request{method: http.MethodGet, path: "/containers/" + element(ref) + "/json", query: q, most: legacy}, &out)
	return out, err
}

// ContainerTop lists the processes of a container; psArgs are ps(1)'s.
func (c *Client) ContainerTop(ctx context.Context, ref, psArgs string) (container.TopResponse, error) {
	q := url.Values{}
	setIf(q, "ps_args", psArgs)
	return get[container.TopResponse](ctx, c, "/containers/"+element(ref)+"/top", q)
}

// ContainerPorts publishes ports of a container and withdraws others.
func (c *Client) ContainerPorts(ctx context.Context, ref string, change docker.PortChange) error {
	return c.post(ctx, "/conex/containers/"+element(ref)+"/ports", nil, change, nil)
}

// ContainerExplain tells what the kernel holds for a running container.
func (c *Client) ContainerExplain(ctx context.Context, ref string) (docker.Explanation, error) {
	return get[docker.Explanation](ctx, c, "/conex/containers/"+element(ref)+"/explain", nil)
}

// ContainerStats calls each for every sample: once with stream false (oneShot: without waiting for a second sample
// to tell a rate from), else until the container stops, each fails or ctx ends.
func (c *Client) ContainerStats(ctx context.Context, ref string, stream, oneShot bool, each func(container.StatsResponse) error) error {
	q := url.Values{"stream": {strconv.FormatBool(stream)}}
	flag(q, "one-shot", oneShot)
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/containers/" + element(ref) + "/stats", query: q})
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	return documents(ctx, res.Body, "container "+ref+": stats", each)
}

// LogsOptions of ContainerLogs; Since and Until are the engine's words: seconds since the epoch with a fraction.
type LogsOptions struct {
	Follow, Timestamps, Details bool
	Since, Until, Tail          string
}

// ContainerLogs opens the container's log. The second result tells whether the stream is multiplexed; engines before
// API 1.42 do not tell, then the caller must know by the container's Tty.
func (c *Client) ContainerLogs(ctx context.Context, ref string, o LogsOptions) (io.ReadCloser, string, error) {
	q := url.Values{"stdout": {"1"}, "stderr": {"1"}}
	flag(q, "follow", o.Follow)
	flag(q, "timestamps", o.Timestamps)
	flag(q, "details", o.Details)
	setIf(q, "since", o.Since)
	setIf(q, "until", o.Until)
	setIf(q, "tail", o.Tail)
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/containers/" + element(ref) + "/logs", query: q})
	if err != nil {
		return nil, "", err
	}
	return res.Body, res.Header.Get("Content-Type"), nil
}

// ContainerWait registers a wait: when it returns, the engine has it, so that a start after it cannot be missed.
// result blocks until the condition holds.
func (c *Client) ContainerWait(ctx context.Context, ref string, cond container.WaitCondition) (result func() (container.WaitResponse, error), err error) {
	q := url.Values{}
	setIf(q, "condition", string(cond))
	res, err := c.do(ctx, request{method: http.MethodPost, path: "/containers/" + element(ref) + "/wait", query: q})
	if err != nil {
		return nil, err
	}
	return func() (container.WaitResponse, error) {
		defer func() { _ = res.Body.Close() }()
		var w container.WaitResponse
		if err := json.NewDecoder(res.Body).Decode(&w); err != nil {
			return w, interrupted(ctx, fmt.Errorf("error waiting for container: %w", err))
		}
		return w, nil
	}, nil
}

// ContainerAttach hijacks a connection to the container's streams.
func (c *Client) ContainerAttach(ctx context.Context, ref string, o docker.AttachOptions) (*Stream, error) {
	q := url.Values{}
	flag(q, "stream", o.Stream)
	flag(q, "stdin", o.Stdin)
	flag(q, "stdout", o.Stdout)
	flag(q, "stderr", o.Stderr)
	flag(q, "logs", o.Logs)
	setIf(q, "detachKeys", o.DetachKeys)
	return c.hijack(ctx, "/containers/"+element(ref)+"/attach", q, nil)
}

// ContainerResize tells the size of the terminal that is attached.
func (c *Client) ContainerResize(ctx context.Context, ref string, height, width uint16) error {
	return c.post(ctx, "/containers/"+element(ref)+"/resize", sizeQuery(height, width), nil, nil)
}

func sizeQuery(height, width uint16) url.Values {
	return url.Values{"h": {strconv.Itoa(int(height))}, "w": {strconv.Itoa(int(width))}}
}

// multiplexed content type, for the callers of ContainerLogs.
const Multiplexed = types.MediaTypeMultiplexedStream

func setIf(q url.Values, key, v string) {
	if v != "" {
		q.Set(key, v)
	}
}

func flag(q url.Values, key string, on bool) {
	if on {
		q.Set(key, "1")
	}
}

func filtered(q url.Values, f docker.Filters) url.Values {
	if len(f) > 0 {
		b, _ := json.Marshal(f) // a map of maps of bools cannot fail
		q.Set("filters", string(b))
	}
	return q
}
