package task

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
)

// ask runs a quick call to the shim of a task; op names it in the error.
func (s *Service) ask(ctx context.Context, ns, id, op string, f func(ctx context.Context, t *task) error) error {
	t, err := s.find(ns, id)
	if err != nil {
		return err
	}
	if t.isLost() {
		return errdefs.NotFound("task %s: %s: its shim has died and the process with it", id, op)
	}
	if err := call(ctx, quickCall, func(ctx context.Context) error { return f(ctx, t) }); err != nil {
		return fmt.Errorf("task %s: %s: %w", id, op, err)
	}
	return nil
}

// Kill sends a signal to the task's process, to an exec, or with all to every process of the container. A process
// that has ended is ErrNotFound.
func (s *Service) Kill(ctx context.Context, ns, id, execID string, sig syscall.Signal, all bool) error {
	return s.ask(ctx, ns, id, "kill", func(ctx context.Context, t *task) error {
		err := t.rpc.Kill(ctx, &taskapi.KillRequest{ID: id, ExecID: execID, Signal: uint32(sig), All: all})
		return err
	})
}

// Resize sets the size of a process's terminal, in characters.
func (s *Service) Resize(ctx context.Context, ns, id, execID string, width, height uint16) error {
	return s.ask(ctx, ns, id, "resize", func(ctx context.Context, t *task) error {
		err := t.rpc.ResizePty(ctx, &taskapi.ResizePtyRequest{
			ID: id, ExecID: execID, Width: uint32(width), Height: uint32(height),
		})
		return err
	})
}

// CloseStdin ends a process's stdin; it does nothing when that is a terminal or closed already.
func (s *Service) CloseStdin(ctx context.Context, ns, id, execID string) error {
	return s.ask(ctx, ns, id, "close stdin", func(ctx context.Context, t *task) error {
		err := t.rpc.CloseIO(ctx, &taskapi.CloseIORequest{ID: id, ExecID: execID, Stdin: true})
		return err
	})
}

// Ended asks the shim whether a process has ended, which it knows before the clients' connections end, and before
// the exit is told here. A process that the shim does not know is ErrNotFound.
func (s *Service) Ended(ctx context.Context, ns, id, execID string) (ended bool, err error) {
	err = s.ask(ctx, ns, id, "state", func(ctx context.Context, t *task) error {
		st, err := t.rpc.State(ctx, &taskapi.ProcessRequest{ID: id, ExecID: execID})
		ended = err == nil && st.Status == taskapi.StatusStopped
		return err
	})
	return ended, err
}

// Pause freezes all processes of the task.
func (s *Service) Pause(ctx context.Context, ns, id string) error {
	return s.ask(ctx, ns, id, "pause", func(ctx context.Context, t *task) error {
		err := t.rpc.Pause(ctx, &taskapi.ContainerRequest{ID: id})
		return t.setPaused(true, err)
	})
}

// Resume lets them go on.
func (s *Service) Resume(ctx context.Context, ns, id string) error {
	return s.ask(ctx, ns, id, "resume", func(ctx context.Context, t *task) error {
		err := t.rpc.Resume(ctx, &taskapi.ContainerRequest{ID: id})
		return t.setPaused(false, err)
	})
}

func (t *task) setPaused(paused bool, err error) error {
	if err == nil {
		t.mu.Lock()
		t.paused = paused
		t.mu.Unlock()
	}
	return err
}

// Update changes the limits that r names; the others stay.
func (s *Service) Update(ctx context.Context, ns, id string, r *specs.LinuxResources) error {
	resources, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("task %s: update: %w", id, err)
	}
	return s.ask(ctx, ns, id, "update", func(ctx context.Context, t *task) error {
		err := t.rpc.Update(ctx, &taskapi.UpdateTaskRequest{
			ID: id, Resources: &wire.Any{TypeURL: shim.TypeResources, Value: resources},
		})
		return err
	})
}

// Pids lists all processes of the task in the host's numbering, read from its cgroup.
func (s *Service) Pids(_ context.Context, ns, id string) ([]int, error) {
	group, err := s.group(ns, id)
	if err != nil {
		return nil, err
	}
	pids, err := group.Pids()
	if err != nil {
		return nil, fmt.Errorf("task %s: list processes: %w", id, err)
	}
	return pids, nil
}

// Stats reads the counters of the task's cgroup; the shim is not asked.
func (s *Service) Stats(_ context.Context, ns, id string) (*Stats, error) {
	group, err := s.group(ns, id)
	if err != nil {
		return nil, err
	}
	stats, err := group.Stats()
	if err != nil {
		return nil, fmt.Errorf("task %s: stats: %w", id, err)
	}
	return stats, nil
}

func (s *Service) group(ns, id string) (*cgroup.Group, error) {
	t, err := s.find(ns, id)
	if err != nil {
		return nil, err
	}
	if t.isLost() || len(t.cgroup) == 0 {
		return nil, errdefs.NotFound("task %s has no cgroup", id)
	}
	group, err := cgroup.Open(t.cgroup)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", id, err)
	}
	return group, nil
}

// Status is one look at the task's process ("") or an exec. It asks nobody: the service knows.
func (s *Service) Status(_ context.Context, ns, id, execID string) (Status, error) {
	t, err := s.find(ns, id)
	if err != nil {
		return Status{}, err
	}
	p, err := t.process(execID)
	if err != nil {
		return Status{}, err
	}
	return p.status(), nil
}
