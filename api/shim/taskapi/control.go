package taskapi

import "github.com/conex-containers/conex/api/shim/wire"

// ResizePtyRequest sets the size of a process's terminal, in characters.
type ResizePtyRequest struct {
	ID     string
	ExecID string
	Width  uint32
	Height uint32
}

// Fields lists the message's fields.
func (m *ResizePtyRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.ExecID)
	f.Uint32(3, &m.Width)
	f.Uint32(4, &m.Height)
}

// KillRequest sends a signal to a process, or to all of a container.
type KillRequest struct {
	ID     string
	ExecID string
	Signal uint32
	All    bool
}

// Fields lists the message's fields.
func (m *KillRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.ExecID)
	f.Uint32(3, &m.Signal)
	f.Bool(4, &m.All)
}

// CloseIORequest ends a process's stdin.
type CloseIORequest struct {
	ID     string
	ExecID string
	Stdin  bool
}

// Fields lists the message's fields.
func (m *CloseIORequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.ExecID)
	f.Bool(3, &m.Stdin)
}

// PidsResponse lists a container's processes in the shim's numbering.
type PidsResponse struct{ Processes []*ProcessInfo }

// Fields lists the message's fields.
func (m *PidsResponse) Fields(f *wire.Fields) { wire.Subs(f, 1, &m.Processes) }

// ProcessInfo is one process; Info may hold ProcessDetails.
type ProcessInfo struct {
	Pid  uint32
	Info *wire.Any
}

// Fields lists the message's fields.
func (m *ProcessInfo) Fields(f *wire.Fields) {
	f.Uint32(1, &m.Pid)
	wire.Sub(f, 2, &m.Info)
}

// CheckpointTaskRequest writes a container's state to files.
type CheckpointTaskRequest struct {
	ID      string
	Path    string
	Options *wire.Any
}

// Fields lists the message's fields.
func (m *CheckpointTaskRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.String(2, &m.Path)
	wire.Sub(f, 3, &m.Options)
}

// UpdateTaskRequest changes a container's limits.
type UpdateTaskRequest struct {
	ID          string
	Resources   *wire.Any
	Annotations map[string]string
}

// Fields lists the message's fields.
func (m *UpdateTaskRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	wire.Sub(f, 2, &m.Resources)
	f.StringMap(3, &m.Annotations)
}

// StatsResponse has a container's counters.
type StatsResponse struct{ Stats *wire.Any }

// Fields lists the message's fields.
func (m *StatsResponse) Fields(f *wire.Fields) { wire.Sub(f, 1, &m.Stats) }

// ConnectResponse tells which processes the shim and the container are.
type ConnectResponse struct {
	ShimPid uint32
	TaskPid uint32
	Version string
	Extra   *Extra
}

// Fields lists the message's fields.
func (m *ConnectResponse) Fields(f *wire.Fields) {
	f.Uint32(1, &m.ShimPid)
	f.Uint32(2, &m.TaskPid)
	f.String(3, &m.Version)
	wire.Sub(f, extraField, &m.Extra)
}

// ShutdownRequest ends the shim when it has no container; Now does not wait for the answer to be read.
type ShutdownRequest struct {
	ID  string
	Now bool
}

// Fields lists the message's fields.
func (m *ShutdownRequest) Fields(f *wire.Fields) {
	f.String(1, &m.ID)
	f.Bool(2, &m.Now)
}

// extraField is the number of the field in which Conex's own answers say more than containerd's messages have room
// for; containerd's clients skip it as unknown.
const extraField = 15000

// Extra is what Conex tells beyond containerd's messages.
type Extra struct {
	OOMKilled bool              // Wait, State: the kernel killed in the cgroup for want of memory
	Started   bool              // State, Wait: the process was started, not only created
	Cgroup    map[string]string // Create, Connect: hierarchy -> directory
	Execs     []string          // Connect: ids of the execs that are not deleted
	HasTask   bool              // Connect: Create was done
}

// OrNone is the Extra of an answer, the zero value when it has none (another shim's).
func (m *Extra) OrNone() Extra {
	if m == nil {
		return Extra{}
	}
	return *m
}

// Fields lists the message's fields.
func (m *Extra) Fields(f *wire.Fields) {
	f.Bool(1, &m.OOMKilled)
	f.Bool(2, &m.Started)
	f.StringMap(3, &m.Cgroup)
	f.Strings(4, &m.Execs)
	f.Bool(5, &m.HasTask)
}
