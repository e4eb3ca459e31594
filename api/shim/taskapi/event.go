package taskapi

import (
	"context"

	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
)

// Topics of the events that a shim tells containerd. For one process they come in this order: create < start < exit <
// delete, or exec-added < exec-started < exit.
const (
	TopicCreate       = "/tasks/create"
	TopicStart        = "/tasks/start"
	TopicOOM          = "/tasks/oom"
	TopicExit         = "/tasks/exit"
	TopicDelete       = "/tasks/delete"
	TopicExecAdded    = "/tasks/exec-added"
	TopicExecStarted  = "/tasks/exec-started"
	TopicPaused       = "/tasks/paused"
	TopicResumed      = "/tasks/resumed"
	TopicCheckpointed = "/tasks/checkpointed"
)

// Event is one of the events below. They are sent in an Any of type EventType.
type Event interface {
	wire.Message
	// Topic is where containerd's subscribers find it, Name the message's name in package containerd.events.
	Topic() string
	Name() string
}

// EventTypePrefix and an event's Name are the type of its Any.
const EventTypePrefix = "containerd.events."

// TaskCreate says that a container was made.
type TaskCreate struct {
	ContainerID string
	Bundle      string
	Rootfs      []*Mount
	IO          *TaskIO
	Checkpoint  string
	Pid         uint32
}

// Fields lists the message's fields.
func (m *TaskCreate) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.String(2, &m.Bundle)
	wire.Subs(f, 3, &m.Rootfs)
	wire.Sub(f, 4, &m.IO)
	f.String(5, &m.Checkpoint)
	f.Uint32(6, &m.Pid)
}

// TaskIO are the streams of a container's own process.
type TaskIO struct {
	Stdin    string
	Stdout   string
	Stderr   string
	Terminal bool
}

// Fields lists the message's fields.
func (m *TaskIO) Fields(f *wire.Fields) {
	f.String(1, &m.Stdin)
	f.String(2, &m.Stdout)
	f.String(3, &m.Stderr)
	f.Bool(4, &m.Terminal)
}

// TaskStart says that a container's process runs.
type TaskStart struct {
	ContainerID string
	Pid         uint32
}

// Fields lists the message's fields.
func (m *TaskStart) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.Uint32(2, &m.Pid)
}

// TaskDelete says that a container, or an exec (ID), was removed.
type TaskDelete struct {
	ContainerID string
	Pid         uint32
	ExitStatus  uint32
	ExitedAt    *wire.Timestamp
	ID          string
}

// Fields lists the message's fields.
func (m *TaskDelete) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.Uint32(2, &m.Pid)
	f.Uint32(3, &m.ExitStatus)
	wire.Sub(f, 4, &m.ExitedAt)
	f.String(5, &m.ID)
}

// TaskExit says that a process has ended; ID is the container's, or an exec's.
type TaskExit struct {
	ContainerID string
	ID          string
	Pid         uint32
	ExitStatus  uint32
	ExitedAt    *wire.Timestamp
}

// Fields lists the message's fields.
func (m *TaskExit) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.String(2, &m.ID)
	f.Uint32(3, &m.Pid)
	f.Uint32(4, &m.ExitStatus)
	wire.Sub(f, 5, &m.ExitedAt)
}

// TaskExecAdded says that an exec was prepared.
type TaskExecAdded struct {
	ContainerID string
	ExecID      string
}

// Fields lists the message's fields.
func (m *TaskExecAdded) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.String(2, &m.ExecID)
}

// TaskExecStarted says that an exec runs.
type TaskExecStarted struct {
	ContainerID string
	ExecID      string
	Pid         uint32
}

// Fields lists the message's fields.
func (m *TaskExecStarted) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.String(2, &m.ExecID)
	f.Uint32(3, &m.Pid)
}

// TaskOOM says that the kernel has killed in the container for want of memory.
type TaskOOM struct{ ContainerID string }

// Fields lists the message's fields.
func (m *TaskOOM) Fields(f *wire.Fields) { f.String(1, &m.ContainerID) }

// TaskPaused says that a container was frozen.
type TaskPaused struct{ ContainerID string }

// Fields lists the message's fields.
func (m *TaskPaused) Fields(f *wire.Fields) { f.String(1, &m.ContainerID) }

// TaskResumed says that it goes on.
type TaskResumed struct{ ContainerID string }

// Fields lists the message's fields.
func (m *TaskResumed) Fields(f *wire.Fields) { f.String(1, &m.ContainerID) }

// TaskCheckpointed says that a container's state was written.
type TaskCheckpointed struct {
	ContainerID string
	Checkpoint  string
}

// Fields lists the message's fields.
func (m *TaskCheckpointed) Fields(f *wire.Fields) {
	f.String(1, &m.ContainerID)
	f.String(2, &m.Checkpoint)
}

// The events' topics and names.
func (*TaskCreate) Topic() string       { return TopicCreate }
func (*TaskStart) Topic() string        { return TopicStart }
func (*TaskDelete) Topic() string       { return TopicDelete }
func (*TaskExit) Topic() string         { return TopicExit }
func (*TaskExecAdded) Topic() string    { return TopicExecAdded }
func (*TaskExecStarted) Topic() string  { return TopicExecStarted }
func (*TaskOOM) Topic() string          { return TopicOOM }
func (*TaskPaused) Topic() string       { return TopicPaused }
func (*TaskResumed) Topic() string      { return TopicResumed }
func (*TaskCheckpointed) Topic() string { return TopicCheckpointed }

func (*TaskCreate) Name() string       { return "TaskCreate" }
func (*TaskStart) Name() string        { return "TaskStart" }
func (*TaskDelete) Name() string       { return "TaskDelete" }
func (*TaskExit) Name() string         { return "TaskExit" }
func (*TaskExecAdded) Name() string    { return "TaskExecAdded" }
func (*TaskExecStarted) Name() string  { return "TaskExecStarted" }
func (*TaskOOM) Name() string          { return "TaskOOM" }
func (*TaskPaused) Name() string       { return "TaskPaused" }
func (*TaskResumed) Name() string      { return "TaskResumed" }
func (*TaskCheckpointed) Name() string { return "TaskCheckpointed" }

// Envelope is an event with its time, namespace and topic.
type Envelope struct {
	Timestamp *wire.Timestamp
	Namespace string
	Topic     string
	Event     *wire.Any
}

// Fields lists the message's fields.
func (m *Envelope) Fields(f *wire.Fields) {
	wire.Sub(f, 1, &m.Timestamp)
	f.String(2, &m.Namespace)
	f.String(3, &m.Topic)
	wire.Sub(f, 4, &m.Event)
}

// ServiceEvents is containerd's service that takes the events of shims.
const ServiceEvents = "containerd.services.events.ttrpc.v1.Events"

// Forward gives one event to containerd, an encoded Envelope.
func Forward(ctx context.Context, rpc *ttrpc.Client, envelope []byte) error {
	return rpc.Call(ctx, ServiceEvents, "Forward", &forwardRequest{envelope}, &wire.Empty{})
}

// forwardRequest is ForwardRequest of that service: its one field, a message, has the encoding of bytes.
type forwardRequest struct{ envelope []byte }

func (m *forwardRequest) Fields(f *wire.Fields) { f.Bytes(1, &m.envelope) }
