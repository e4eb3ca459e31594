package backend

import (
	"context"
	"fmt"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/runtime/container"
)

// InProcess makes containers with Conex's own runtime: the container's process is a clone of the shim.
type InProcess struct{}

// Create makes a container; its process waits for Start.
func (InProcess) Create(ctx context.Context, c Config) (Container, error) {
	made, err := container.Create(ctx, optionsOf(c))
	if err != nil {
		return nil, err
	}
	return &inProcess{made}, nil
}

func optionsOf(c Config) container.Options {
	return container.Options{
		ID:          c.ID,
		Root:        c.Root,
		FilterCache: c.Filters,
		Bundle:      c.Bundle,
		Spec:        c.Spec,
		Rootfs:      c.Rootfs,
		NetNS:       c.NetNS,
		Stdio:       c.Stdio,
		Terminal:    c.Terminal,

		SystemdCgroup: c.SystemdCgroup,
		NoPivot:       c.NoPivot,
		NoNewKeyring:  c.NoNewKeyring,
	}
}

// Restore makes a container of a checkpoint by CRIU.
func (InProcess) Restore(ctx context.Context, c Config, from Checkpoint) (Container, error) {
	made, err := container.Restore(ctx, optionsOf(c), checkpointOptions(from))
	if err != nil {
		return nil, err
	}
	return &inProcess{made}, nil
}

func checkpointOptions(c Checkpoint) container.CheckpointOptions {
	return container.CheckpointOptions{
		ImagePath: c.Image, WorkPath: c.Work, ParentPath: c.Parent,
		LeaveRunning: c.LeaveRunning, TCPEstablished: c.OpenTCP, ExternalUnixSockets: c.ExternalUnixSockets,
		ShellJob: c.Terminal, FileLocks: c.FileLocks, CgroupsMode: c.CgroupsMode, EmptyNS: c.EmptyNamespaces,
	}
}

type inProcess struct{ c *container.Container }

func (p *inProcess) Checkpoint(ctx context.Context, to Checkpoint) error {
	return p.c.Checkpoint(ctx, checkpointOptions(to))
}

func (p *inProcess) Pid() int                        { return p.c.Pid() }
func (p *inProcess) Cgroup() *cgroup.Group           { return p.c.Cgroup() }
func (p *inProcess) Start(ctx context.Context) error { return p.c.Start(ctx) }

func (p *inProcess) Kill(ctx context.Context, sig syscall.Signal, all bool) error {
	err := p.c.Kill(ctx, sig, all)
	switch {
	case errdefs.Is(err, errdefs.ErrFailedPrecondition):
		return errdefs.With(errdefs.ErrNotFound, err) // it has ended
	case all && sig == syscall.SIGKILL && errdefs.Is(err, errdefs.ErrUnavailable):
		return nil // all were signalled, and did not die as fast as they were looked at
	}
	return err
}

func (p *inProcess) Exec(ctx context.Context, e Exec) (*Process, error) {
	process, err := p.c.Exec(ctx, container.ExecOptions{
		ID:       e.ID,
		Process:  e.Process,
		Stdio:    e.Stdio,
		Terminal: e.Terminal,
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = process.Close() }()
	pidfd, err := unix.FcntlInt(uintptr(process.Pidfd()), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("exec %s: pidfd: %w", e.ID, err)
	}
	return &Process{Pid: process.Pid(), Pidfd: pidfd}, nil
}

func (p *inProcess) Freeze(ctx context.Context, frozen bool) error {
	if frozen {
		return p.c.Pause(ctx)
	}
	return p.c.Resume(ctx)
}

func (p *inProcess) Update(ctx context.Context, r *specs.LinuxResources) error {
	return p.c.Update(ctx, r)
}

func (p *inProcess) Delete(ctx context.Context) error {
	if err := p.c.Delete(ctx, true); err != nil {
		return err
	}
	return p.c.Close()
}
