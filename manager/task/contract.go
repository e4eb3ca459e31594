// Package task runs containers: it lays out the bundle, launches one conex-shim, speaks the shim protocol to it,
// and finds all of them again when the daemon comes back.
package task

import (
	"os"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/linux/mount"
)

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

/*
The service's methods, which engine and pod consume through interfaces of their own:

	New(Config) (*Service, error)               Config{ExecRoot, ShimPath, Runtimes map[string]Runtime, CgroupParent, Log}
	Recover(ctx, func(Exit)) ([]Recovered, error)  adopt every live shim; call once, before the first Create; the function is kept and told every later Exit
	Create(ctx, Create) (pid int, err error)
	Start(ctx, ns, id) error                    an execve failure comes back here with its errno in the chain and runc's text
	Kill(ctx, ns, id, execID, sig, all bool) error
	Exec(ctx, ns, id, Exec) (pid int, err error)   created and started
	Attach(ctx, ns, id, Stream) error
	Resize(ctx, ns, id, execID, w, h) error
	CloseStdin(ctx, ns, id, execID) error
	Pause / Resume(ctx, ns, id) error
	Update(ctx, ns, id, *specs.LinuxResources) error
	Pids(ctx, ns, id) ([]int, error)
	Stats(ctx, ns, id) (*Stats, error)
	Status(ctx, ns, id, execID) (Status, error)
	Delete(ctx, ns, id) error                   after the exit, or forced: kills what is left; shim, bundle, cgroup gone when it returns
	DeleteExec(ctx, ns, id, execID) error
*/
