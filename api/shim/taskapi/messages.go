// Package taskapi has the messages of containerd's task service (containerd.task.v2.Task, and v3 with the same
// messages) and of the sandbox service, as plain structs; see containerd's api/runtime and api/types.
package taskapi

import "github.com/conex-containers/conex/api/shim/wire"

// CreateTaskRequest makes the container of a bundle.
type CreateTaskRequest struct {
	ID               string
	Bundle           string
	Rootfs           []*Mount
	Terminal         bool
	Stdin            string // path of a FIFO, or a URI; api/shim says what Conex's own manager writes
	Stdout           string
	Stderr           string
	Checkpoint       string
	ParentCheckpoint string
	Options          *wire.Any
}

// Fields lists the message's fields.
func (m *CreateTaskRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.Bundle)
	wire.Subs(f, 3, &m.Rootfs)
	f.Bool(4, &m.Terminal)
	f.String(5, &m.Stdin)
	f.String(6, &m.Stdout)
	f.String(7, &m.Stderr)
	f.String(8, &m.Checkpoint)
	f.String(9, &m.ParentCheckpoint)
	wire.Sub(f, 10, &m.Options)
}

// Mount is one mount of a container's root file system.
type Mount struct {
	Type    string
	Source  string
	Target  string
	Options []string
}

// Fields lists the message's fields.
func (m *Mount) Fields(f *wire.Fields) {
	f.String(1, &m.Type)
	f.String(2, &m.Source)
	f.String(3, &m.Target)
	f.Strings(4, &m.Options)
}

// CreateTaskResponse answers with the container's process.
type CreateTaskResponse struct {
	Pid   uint32
	Extra *Extra
}

// Fields lists the message's fields.
func (m *CreateTaskResponse) Fields(f *wire.Fields) {
	f.Uint32(1, &m.Pid)
	wire.Sub(f, extraField, &m.Extra)
}

// ProcessRequest names a process: the container's own, or with ExecID another. It is the request of State, Start,
// Delete and Wait.
type ProcessRequest struct {
	ID     string
	ExecID string
}

// Fields lists the message's fields.
func (m *ProcessRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.ExecID)
}

// ContainerRequest names a container. It is the request of Pids, Pause, Resume, Stats and Connect.
type ContainerRequest struct{ ID string }

// Fields lists the message's fields.
func (m *ContainerRequest) Fields(f *wire.Fields) { f.String(1, &m.ID) }

// Status is what state a process is in.
type Status = int32

// The states (containerd.v1.types.Status).
const (
	StatusUnknown Status = iota
	StatusCreated
	StatusRunning
	StatusStopped
	StatusPaused
	StatusPausing
)

// StateResponse tells what is known of a process.
type StateResponse struct {
	ID         string
	Bundle     string
	Pid        uint32
	Status     Status
	Stdin      string
	Stdout     string
	Stderr     string
	Terminal   bool
	ExitStatus uint32
	ExitedAt   *wire.Timestamp
	ExecID     string
	Extra      *Extra
}

// Fields lists the message's fields.
func (m *StateResponse) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.Bundle)
	f.Uint32(3, &m.Pid)
	f.Int32(4, &m.Status)
	f.String(5, &m.Stdin)
	f.String(6, &m.Stdout)
	f.String(7, &m.Stderr)
	f.Bool(8, &m.Terminal)
	f.Uint32(9, &m.ExitStatus)
	wire.Sub(f, 10, &m.ExitedAt)
	f.String(11, &m.ExecID)
	wire.Sub(f, extraField, &m.Extra)
}

// StartResponse answers with the process's number.
type StartResponse struct{ Pid uint32 }

// Fields lists the message's fields.
func (m *StartResponse) Fields(f *wire.Fields) { f.Uint32(1, &m.Pid) }

// DeleteResponse tells how the process that was deleted had ended.
type DeleteResponse struct {
	Pid        uint32
	ExitStatus uint32
	ExitedAt   *wire.Timestamp
}

// Fields lists the message's fields.
func (m *DeleteResponse) Fields(f *wire.Fields) {
	f.Uint32(1, &m.Pid)
	f.Uint32(2, &m.ExitStatus)
	wire.Sub(f, 3, &m.ExitedAt)
}

// WaitResponse tells how a process has ended.
type WaitResponse struct {
	ExitStatus uint32
	ExitedAt   *wire.Timestamp
	Extra      *Extra
}

// Fields lists the message's fields.
func (m *WaitResponse) Fields(f *wire.Fields) {
	f.Uint32(1, &m.ExitStatus)
	wire.Sub(f, 2, &m.ExitedAt)
	wire.Sub(f, extraField, &m.Extra)
}

// ExecProcessRequest prepares one more process.
type ExecProcessRequest struct {
	ID       string
	ExecID   string
	Terminal bool
	Stdin    string
	Stdout   string
	Stderr   string
	Spec     *wire.Any
}

// Fields lists the message's fields.
func (m *ExecProcessRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.ExecID)
	f.Bool(3, &m.Terminal)
	f.String(4, &m.Stdin)
	f.String(5, &m.Stdout)
	f.String(6, &m.Stderr)
	wire.Sub(f, 7, &m.Spec)
}
