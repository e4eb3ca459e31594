package client

import (
	"context"

	"github.com/moby/moby/api/types/container"
)

// ExecCreate prepares a process in a running container and returns its id.
func (c *Client) ExecCreate(ctx context.Context, ref string, req container.ExecCreateRequest) (string, error) {
	out, err := post[container.ExecCreateResponse](ctx, c, "/containers/"+element(ref)+"/exec", nil, req)
	return out.ID, err
}

// ExecStart starts a prepared process without attaching.
func (c *Client) ExecStart(ctx context.Context, id string, req container.ExecStartRequest) error {
	return c.post(ctx, "/exec/"+id+"/start", nil, req, nil)
}

// ExecAttach starts a prepared process and hijacks a connection to its streams.
func (c *Client) ExecAttach(ctx context.Context, id string, req container.ExecStartRequest) (*Stream, error) {
	return c.hijack(ctx, "/exec/"+id+"/start", nil, req)
}

// ExecResize tells the size of the terminal.
func (c *Client) ExecResize(ctx context.Context, id string, height, width uint16) error {
	return c.post(ctx, "/exec/"+id+"/resize", sizeQuery(height, width), nil, nil)
}

// ExecInspect tells how the process is, or how it ended.
func (c *Client) ExecInspect(ctx context.Context, id string) (container.ExecInspectResponse, error) {
	return get[container.ExecInspectResponse](ctx, c, "/exec/"+id+"/json", nil)
}
