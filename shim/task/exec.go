package task

import (
	"context"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/spec"
	"github.com/conex-containers/conex/shim/backend"
	"github.com/conex-containers/conex/shim/reaper"
	"github.com/conex-containers/conex/shim/stdio"
)

// Exec prepares one more process; clients can attach to it, Start runs it.
func (s *service) Exec(ctx context.Context, r *taskapi.ExecProcessRequest) (*wire.Empty, error) {
	c, first, err := s.lookup(r.ID, "")
	if err != nil {
		return nil, err
	}
	if _, started, exit := first.look(); exit != nil || !started {
		return nil, errdefs.FailedPrecondition("container %s is not running", r.ID)
	}
	if r.ExecID == "" {
		return nil, errdefs.InvalidArgument("container %s: exec without an id", r.ID)
	}
	if r.Spec.Type() != shim.TypeProcess {
		return nil, errdefs.InvalidArgument("exec %s: process of type %q is not known", r.ExecID, r.Spec.Type())
	}
	described, err := spec.DecodeProcess(r.Spec.Content())
	if err != nil {
		return nil, errdefs.InvalidArgument("exec %s: process: %w", r.ExecID, err)
	}
	described.Terminal = r.Terminal
	if err := c.reserve(r.ExecID); err != nil {
		return nil, err
	}
	streams := stdio.Paths{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}
	io, err := s.openStreams(ctx, r.ID, r.Terminal, streams, c.options, nil)
	if err != nil {
		c.forget(r.ExecID)
		return nil, err
	}
	p := newProcess(r.ExecID, r.Terminal, io)
	p.spec, p.paths = described, streams
	c.mu.Lock()
	c.procs[r.ExecID] = p
	c.mu.Unlock()
	s.events.Publish(&taskapi.TaskExecAdded{ContainerID: c.id, ExecID: r.ExecID})
	return &wire.Empty{}, nil
}

// reserve claims the id of an exec that is being prepared.
func (c *container) reserve(execID string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.procs[execID]; ok {
		return errdefs.AlreadyExists("exec %s exists already", execID)
	}
	c.procs[execID] = nil
	return nil
}

func (c *container) forget(execID string) {
	c.mu.Lock()
	delete(c.procs, execID)
	c.mu.Unlock()
}

// startExec runs an exec. The container's state and the reaper are held.
func (s *service) startExec(ctx context.Context, c *container, p *process) (*taskapi.StartResponse, error) {
	base := c.oomKills()
	made, err := c.Exec(ctx, backend.Exec{
		ID: p.execID, Process: p.spec, Stdio: p.io.Files(), Terminal: terminalOf(p.io, p.spec),
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.pid, p.pidfd, p.started, p.oomBase = made.Pid, made.Pidfd, true, base
	p.mu.Unlock()
	if err := p.io.OpenStdin(); err != nil {
		s.log.Warn("stdin", "op", "exec", "err", err) // its FIFO is gone; the process runs
	}
	p.io.Start() // before anybody can hear of the end, which waits for what Start has begun
	s.reaper.Watch(made.Pid, func(e reaper.Exit) { s.finish(c, p, e) })
	s.collect()
	s.settle(settleAfterExec)
	s.events.Publish(&taskapi.TaskExecStarted{ContainerID: c.id, ExecID: p.execID, Pid: uint32(made.Pid)})
	return &taskapi.StartResponse{Pid: uint32(made.Pid)}, nil
}
