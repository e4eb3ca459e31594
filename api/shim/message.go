package shim

import "github.com/conex-containers/conex/api/shim/wire"

// Type URLs of the google.protobuf.Any fields of the task service. Those of the runtime specification's types hold
// JSON, those of Conex's own the messages of this package.
const (
	TypeCreateOptions = "conex.shim.v1.CreateOptions"                                      // CreateTaskRequest.Options
	TypeProcess       = "types.containerd.io/opencontainers/runtime-spec/1/Process"        // ExecProcessRequest.Spec
	TypeResources     = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources" // UpdateTaskRequest.Resources
	TypeError         = "conex.shim.v1.Error"                                              // a detail of an error's status
)

// StdinOpen in a request's Stdin field gives the process an open stdin, fed by the clients of the stream socket;
// with "" it is /dev/null.
const StdinOpen = "open"

// CreateOptions travel in CreateTaskRequest.Options: what containerd's message has no field for.
type CreateOptions struct {
	Root        string   // state directory of the runtime, of one namespace
	Runtime     string   // path of a foreign OCI runtime; "": the shim's own
	RuntimeArgs []string // global arguments of the foreign runtime
	Log         *Log     // nil: nothing is recorded
	// Streams is the number of Headers that were sent before Create: the shim attaches so many clients before the
	// process can write its first byte.
	Streams uint32
	Filters string // directory where shims share compiled seccomp profiles; "": each compiles its own
}

// Fields lists the message's fields.
func (m *CreateOptions) Fields(f *wire.Fields) {
	f.String(1, &m.Root)
	f.String(2, &m.Runtime)
	f.Strings(3, &m.RuntimeArgs)
	wire.Sub(f, 4, &m.Log)
	f.Uint32(5, &m.Streams)
	f.String(6, &m.Filters)
}

// Fields lists the message's fields.
func (m *Log) Fields(f *wire.Fields) {
	f.String(1, &m.Driver)
	f.String(2, &m.Path)
	f.Int64(3, &m.MaxSize)
	files := int64(m.MaxFiles)
	f.Int64(4, &files)
	m.MaxFiles = int(files)
	f.StringMap(5, &m.Attrs)
}

// Fields lists the message's fields.
func (m *Header) Fields(f *wire.Fields) {
	f.String(1, &m.ExecID)
	f.Bool(2, &m.Stdin)
	f.Bool(3, &m.Stdout)
	f.Bool(4, &m.Stderr)
	f.Bool(5, &m.CloseStdin)
	f.Bytes(6, &m.DetachKeys)
	f.Bytes(7, &m.Buffered)
}

// Fields lists the message's fields. The number keeps an answer without an error from being empty: a message of no
// bytes could not be told from the end of the connection.
func (m *Reply) Fields(f *wire.Fields) {
	f.String(1, &m.Err)
	taken := uint32(1)
	f.Uint32(2, &taken)
}

// Error is the detail of a failed call's status: it carries across the socket what the text alone does not.
type Error struct {
	Class string // base/errdefs Class
	Errno uint32 // the system call's error at the end of the chain
}

// Fields lists the message's fields.
func (m *Error) Fields(f *wire.Fields) {
	f.String(1, &m.Class)
	f.Uint32(2, &m.Errno)
}
