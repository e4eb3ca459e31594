// Package backend makes the containers of a shim: by Conex's own runtime in this process, or by any OCI runtime's
// command line.
package backend

import (
	"context"
	"os"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/mount"
)

// Config describes a container to make.
type Config struct {
	ID       string
	Root     string // state directory of the runtime
	Filters  string // directory of compiled seccomp profiles, or "", see runtime/container
	Bundle   string
	Spec     *specs.Spec
	Rootfs   []mount.Mount
	NetNS    *os.File // nil: what the spec says
	Stdio    [3]*os.File
	Terminal func(master *os.File) error // set when the process has a terminal; called before Create returns

	SystemdCgroup, NoPivot, NoNewKeyring bool // as conex-runtime's flags of these names
}

// Exec describes one more process.
type Exec struct {
	ID       string
	Process  *specs.Process
	Stdio    [3]*os.File
	Terminal func(master *os.File) error
}

// Process is a process that Exec started, by number and by descriptor; the shim is its parent.
type Process struct {
	Pid   int
	Pidfd int // the holder closes it
}

// Container is what the shim needs of a made container. Its processes are children of the shim, which reaps them.
type Container interface {
	Pid() int
	// Cgroup is the container's control group, nil when it has none.
	Cgroup() *cgroup.Group
	Start(ctx context.Context) error
	// Kill signals the container's process, or with all every process of it. One that has ended is ErrNotFound.
	Kill(ctx context.Context, sig syscall.Signal, all bool) error
	Exec(ctx context.Context, e Exec) (*Process, error)
	// Freeze stops all processes, or lets them go on.
	Freeze(ctx context.Context, frozen bool) error
	Update(ctx context.Context, r *specs.LinuxResources) error
	// Delete kills what is left and removes everything that Create made.
	Delete(ctx context.Context) error
}

// Runtime makes containers, anew or of a checkpoint. One of a checkpoint runs when Restore returns.
type Runtime interface {
	Create(ctx context.Context, c Config) (Container, error)
	Restore(ctx context.Context, c Config, from Checkpoint) (Container, error)
}

// Checkpointer is a Container that can be written to files.
type Checkpointer interface {
	Checkpoint(ctx context.Context, to Checkpoint) error
}

// Checkpoint says where a container's state is written to or read from, and what it holds (criu(8)).
type Checkpoint struct {
	Image, Work, Parent string // directories; Work and Parent may be ""

	LeaveRunning, OpenTCP, ExternalUnixSockets, Terminal, FileLocks bool

	CgroupsMode     string
	EmptyNamespaces []string
}
