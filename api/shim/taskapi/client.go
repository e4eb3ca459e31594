package taskapi

import (
	"context"

	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
)

// The task service's names: its messages are the same in both versions.
const (
	ServiceV2 = "containerd.task.v2.Task"
	ServiceV3 = "containerd.task.v3.Task"
)

// Client calls the task service of a shim.
type Client struct{ rpc *ttrpc.Client }

// NewClient returns a client over rpc.
func NewClient(rpc *ttrpc.Client) *Client { return &Client{rpc} }

func call[T any, A wire.PointerTo[T]](ctx context.Context, c *Client, method string, req wire.Message) (A, error) {
	resp := A(new(T))
	return resp, c.rpc.Call(ctx, ServiceV2, method, req, resp)
}

func order(ctx context.Context, c *Client, method string, req wire.Message) error {
	return c.rpc.Call(ctx, ServiceV2, method, req, &wire.Empty{})
}

// State tells what is known of a process.
func (c *Client) State(ctx context.Context, r *ProcessRequest) (*StateResponse, error) {
	return call[StateResponse](ctx, c, "State", r)
}

// Create makes the container.
func (c *Client) Create(ctx context.Context, r *CreateTaskRequest) (*CreateTaskResponse, error) {
	return call[CreateTaskResponse](ctx, c, "Create", r)
}

// Start starts a process.
func (c *Client) Start(ctx context.Context, r *ProcessRequest) (*StartResponse, error) {
	return call[StartResponse](ctx, c, "Start", r)
}

// Delete removes a process that has ended.
func (c *Client) Delete(ctx context.Context, r *ProcessRequest) (*DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, "Delete", r)
}

// Wait answers when a process has ended.
func (c *Client) Wait(ctx context.Context, r *ProcessRequest) (*WaitResponse, error) {
	return call[WaitResponse](ctx, c, "Wait", r)
}

// Connect tells what the shim has.
func (c *Client) Connect(ctx context.Context, r *ContainerRequest) (*ConnectResponse, error) {
	return call[ConnectResponse](ctx, c, "Connect", r)
}

// Pids lists the container's processes.
func (c *Client) Pids(ctx context.Context, r *ContainerRequest) (*PidsResponse, error) {
	return call[PidsResponse](ctx, c, "Pids", r)
}

// Stats reads the container's counters.
func (c *Client) Stats(ctx context.Context, r *ContainerRequest) (*StatsResponse, error) {
	return call[StatsResponse](ctx, c, "Stats", r)
}

// Pause freezes the container.
func (c *Client) Pause(ctx context.Context, r *ContainerRequest) error {
	return order(ctx, c, "Pause", r)
}

// Resume lets it go on.
func (c *Client) Resume(ctx context.Context, r *ContainerRequest) error {
	return order(ctx, c, "Resume", r)
}

// Checkpoint writes the container's state to files.
func (c *Client) Checkpoint(ctx context.Context, r *CheckpointTaskRequest) error {
	return order(ctx, c, "Checkpoint", r)
}

// Kill sends a signal.
func (c *Client) Kill(ctx context.Context, r *KillRequest) error { return order(ctx, c, "Kill", r) }

// Exec prepares one more process.
func (c *Client) Exec(ctx context.Context, r *ExecProcessRequest) error {
	return order(ctx, c, "Exec", r)
}

// ResizePty sets the size of a terminal.
func (c *Client) ResizePty(ctx context.Context, r *ResizePtyRequest) error {
	return order(ctx, c, "ResizePty", r)
}

// CloseIO ends a process's stdin.
func (c *Client) CloseIO(ctx context.Context, r *CloseIORequest) error {
	return order(ctx, c, "CloseIO", r)
}

// Update changes the container's limits.
func (c *Client) Update(ctx context.Context, r *UpdateTaskRequest) error {
	return order(ctx, c, "Update", r)
}

// Shutdown ends the shim.
func (c *Client) Shutdown(ctx context.Context, r *ShutdownRequest) error {
	return order(ctx, c, "Shutdown", r)
}
