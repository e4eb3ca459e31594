// Package task runs containers: it lays out the bundle, launches one conex-shim, speaks the shim protocol to it,
// and finds all of them again when the daemon comes back.
package task

import (
	"log/slog"
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/mount"
)

// Config says where a Service keeps its bundles and what it launches.
type Config struct {
	ExecRoot     string             // bundles are in ExecRoot/task/<namespace>/<id>, runtime state in ExecRoot/runtime/<namespace>/<id>
	ShimPath     string             // the conex-shim binary
	Runtimes     map[string]Runtime // beside the built-in "conex"
	CgroupParent string             // group of containers whose spec names none; "": "conex"
	Log          *slog.Logger       // nil: slog's default
}

// Runtime is a foreign OCI runtime that the shim runs by its command line.
type Runtime struct {
	Path string   // absolute, or a name to look up in PATH
	Args []string // global arguments before the command, such as --systemd-cgroup
}

// BuiltinRuntime is the name of the runtime that is part of the shim.
const BuiltinRuntime = "conex"

// Stats are the counters of a task's cgroup: bytes, nanoseconds, counts.
type Stats = cgroup.Stats

// Recovered is a task that Recover adopted.
type Recovered struct {
	Namespace string
	ID        string
	Status    Status
	Execs     map[string]Status // execs that nobody has deleted yet
	NetNS     *os.File          // its network namespace, nil when that is the host's or gone; the caller closes it
}

// Create describes a task to make: the process exists and waits when the call returns.
type Create struct {
	Namespace string // containerd-style namespace: "moby" for Docker's containers
	ID        string
	Runtime   string // name in the runtime table: "" or "conex" runs in the shim; others by their OCI command line
	Spec      *specs.Spec
	Rootfs    []mount.Mount
	NetNS     *os.File // nil: what the spec says
	Terminal  bool
	OpenStdin bool
	Log       shim.Log
	// Streams are clients that attached before the start; they are handed over before the process can write.
	Streams []Stream
}

// Stream is a client's connection, to be handed to the shim. The callee owns Conn from the call on.
type Stream struct {
	Header shim.Header
	Conn   *os.File // a socket
}

// Exec describes one more process in a running task.
type Exec struct {
	ID        string
	Process   *specs.Process // Terminal inside
	OpenStdin bool
	Stream    *Stream // nil: detached
}

// State of a task's process.
type State string

// The states, as containerd names them.
const (
	StateCreated State = "created"
	StateRunning State = "running"
	StatePaused  State = "paused"
	StateStopped State = "stopped"
)

// Status is one look at a task or an exec.
type Status struct {
	State     State
	Pid       int
	ExitCode  int
	ExitedAt  time.Time
	OOMKilled bool
	Terminal  bool
}

// Exit is told once for every started process that ended, in the order created < started < exited, also for those
// that ended while the daemon was down.
type Exit struct {
	Namespace string
	ID        string
	ExecID    string // "" for the container's own process
	Pid       int
	Code      int
	At        time.Time
	OOMKilled bool
	Lost      bool // the shim died: the code is 137 by assumption
}
