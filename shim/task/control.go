package task

import (
	"context"
	"encoding/json"
	"errors"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/shim/backend"
)

// Kill signals the container's process, an exec, or everything in the container.
func (s *service) Kill(ctx context.Context, r *taskapi.KillRequest) (*wire.Empty, error) {
	c, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	sig := syscall.Signal(r.Signal)
	if r.ExecID != "" {
		return &wire.Empty{}, p.signal(sig)
	}
	if _, _, exit := p.look(); exit != nil && !r.All {
		return nil, errdefs.NotFound("container %s has ended", r.ID)
	}
	defer s.reaper.Hold()()
	if sig == syscall.SIGKILL {
		c.doomed.Store(true)
	}
	return &wire.Empty{}, c.Kill(ctx, sig, r.All)
}

// ResizePty sets the size of a process's terminal.
func (s *service) ResizePty(_ context.Context, r *taskapi.ResizePtyRequest) (*wire.Empty, error) {
	_, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	return &wire.Empty{}, p.io.Resize(uint16(r.Width), uint16(r.Height))
}

// CloseIO ends a process's stdin.
func (s *service) CloseIO(_ context.Context, r *taskapi.CloseIORequest) (*wire.Empty, error) {
	_, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	if r.Stdin {
		p.io.CloseStdin()
	}
	return &wire.Empty{}, nil
}

// Pause freezes the container.
func (s *service) Pause(ctx context.Context, r *taskapi.ContainerRequest) (*wire.Empty, error) {
	return s.freeze(ctx, r.ID, true)
}

// Resume lets it go on.
func (s *service) Resume(ctx context.Context, r *taskapi.ContainerRequest) (*wire.Empty, error) {
	return s.freeze(ctx, r.ID, false)
}

func (s *service) freeze(ctx context.Context, id string, frozen bool) (*wire.Empty, error) {
	c, p, err := s.lookup(id, "")
	if err != nil {
		return nil, err
	}
	c.state.Lock()
	defer c.state.Unlock()
	if _, started, exit := p.look(); exit != nil || !started {
		return nil, errdefs.FailedPrecondition("container %s is not running", id)
	}
	defer s.reaper.Hold()()
	if err := c.Freeze(ctx, frozen); err != nil {
		return nil, err
	}
	if frozen && c.doomed.Load() {
		// Its SIGKILL came meanwhile. On cgroup v1 the frozen cannot die; Kill thaws only what it finds frozen.
		return nil, errors.Join(errdefs.FailedPrecondition("container %s is being killed", id), c.Freeze(ctx, false))
	}
	c.mu.Lock()
	c.paused = frozen
	c.mu.Unlock()
	if frozen {
		s.events.Publish(&taskapi.TaskPaused{ContainerID: id})
	} else {
		s.events.Publish(&taskapi.TaskResumed{ContainerID: id})
	}
	return &wire.Empty{}, nil
}

// Update changes the limits that the request names.
func (s *service) Update(ctx context.Context, r *taskapi.UpdateTaskRequest) (*wire.Empty, error) {
	c, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	if r.Resources.Type() != shim.TypeResources {
		return nil, errdefs.InvalidArgument("resources of type %q are not known", r.Resources.Type())
	}
	var resources specs.LinuxResources
	if err := json.Unmarshal(r.Resources.Content(), &resources); err != nil {
		return nil, errdefs.InvalidArgument("resources: %w", err)
	}
	defer s.reaper.Hold()()
	return &wire.Empty{}, c.Update(ctx, &resources)
}

// Pids lists the container's processes in the host's numbering.
func (s *service) Pids(_ context.Context, r *taskapi.ContainerRequest) (*taskapi.PidsResponse, error) {
	c, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	resp := &taskapi.PidsResponse{}
	group := c.Cgroup()
	if group == nil {
		return resp, nil
	}
	pids, err := group.Pids()
	if err != nil {
		return nil, err
	}
	execs := c.execs()
	for _, pid := range pids {
		info := &taskapi.ProcessInfo{Pid: uint32(pid)}
		if id := execs[pid]; id != "" {
			details := taskapi.ProcessDetails{ExecID: id}
			info.Info = &wire.Any{TypeURL: taskapi.TypeProcessDetails, Value: wire.Marshal(&details)}
		}
		resp.Processes = append(resp.Processes, info)
	}
	return resp, nil
}

// execs are the ids of the execs that run, by pid.
func (c *container) execs() map[int]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[int]string)
	for id, p := range c.procs {
		if p == nil {
			continue
		}
		if pid, started, exit := p.look(); started && exit == nil {
			m[pid] = id
		}
	}
	return m
}

// Checkpoint writes the container's state to files, by containerd's options for runc.
func (s *service) Checkpoint(ctx context.Context, r *taskapi.CheckpointTaskRequest) (*wire.Empty, error) {
	c, err := s.find(r.ID)
	if err != nil {
		return nil, err
	}
	var o taskapi.CheckpointOptions
	if kind := r.Options.Type(); kind != "" && kind != taskapi.TypeCheckpointOptions {
		return nil, errdefs.InvalidArgument("checkpoint options of type %q are not known", kind)
	}
	if err := wire.Unmarshal(r.Options.Content(), &o); err != nil {
		return nil, errdefs.InvalidArgument("checkpoint options: %w", err)
	}
	writer, ok := c.Container.(backend.Checkpointer)
	if !ok {
		return nil, errdefs.NotImplemented("container %s: its runtime writes no checkpoints", r.ID)
	}
	c.state.Lock()
	defer c.state.Unlock()
	defer s.reaper.Hold()() // criu is a child
	err = writer.Checkpoint(context.WithoutCancel(ctx), backend.Checkpoint{
		Image: r.Path, Work: o.WorkPath, Parent: o.ParentPath, LeaveRunning: !o.Exit, OpenTCP: o.OpenTCP,
		ExternalUnixSockets: o.ExternalUnixSockets, Terminal: o.Terminal, FileLocks: o.FileLocks,
		CgroupsMode: o.CgroupsMode, EmptyNamespaces: o.EmptyNamespaces,
	})
	if err != nil {
		return nil, err
	}
	s.events.Publish(&taskapi.TaskCheckpointed{ContainerID: c.id, Checkpoint: r.Path})
	return &wire.Empty{}, nil
}
