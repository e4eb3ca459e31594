package task

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
)

// Exec runs one more process in a running task and returns its pid in the host's numbering. Its exit is told with
// the ExecID, and it stays known until DeleteExec. On an error nothing of it is left.
func (s *Service) Exec(ctx context.Context, ns, id string, e Exec) (pid int, err error) {
	if e.Stream != nil {
		defer closeStreams([]Stream{*e.Stream})
	}
	t, err := s.find(ns, id)
	if err != nil {
		return 0, err
	}
	if _, err := ids.Parse(e.ID); err != nil {
		return 0, err
	}
	if e.Process == nil {
		return 0, errdefs.InvalidArgument("exec %s: no process", e.ID)
	}
	p, err := t.newExec(ctx, e)
	if err != nil {
		return 0, fmt.Errorf("task %s: exec %s: %w", id, e.ID, err)
	}
	if err := t.runExec(ctx, p, e); err != nil {
		t.undoExec(ctx, p)
		return 0, fmt.Errorf("task %s: exec %s: %w", id, e.ID, err)
	}
	return p.pid, nil
}

// newExec tells the shim of the process to come.
func (t *task) newExec(ctx context.Context, e Exec) (*process, error) {
	process, err := json.Marshal(e.Process)
	if err != nil {
		return nil, err
	}
	req := &taskapi.ExecProcessRequest{
		ID:       t.id,
		ExecID:   e.ID,
		Terminal: e.Process.Terminal,
		Spec:     &wire.Any{TypeURL: shim.TypeProcess, Value: process},
	}
	if e.OpenStdin {
		req.Stdin = shim.StdinOpen
	}
	err = call(ctx, quickCall, func(ctx context.Context) error {
		err := t.rpc.Exec(ctx, req)
		return err
	})
	return newProcess(t, e.ID, e.Process.Terminal), err
}

// runExec attaches the client first, so that it sees the first byte, and starts the process.
func (t *task) runExec(ctx context.Context, p *process, e Exec) error {
	if e.Stream != nil {
		stream := *e.Stream
		stream.Header.ExecID = e.ID
		if err := t.attach(ctx, stream); err != nil {
			return err
		}
	}
	if err := t.start(ctx, p); err != nil {
		return err
	}
	t.add(p)
	return nil
}

// undoExec removes the shim's record of a process that did not start.
func (t *task) undoExec(ctx context.Context, p *process) {
	err := call(context.WithoutCancel(ctx), quickCall, func(ctx context.Context) error {
		_, err := t.rpc.Delete(ctx, &taskapi.ProcessRequest{ID: t.id, ExecID: p.execID})
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) {
		logging.From(ctx).Warn("remove a failed exec", "op", "exec", "task", t.id, "exec", p.execID, "err", err)
	}
}

// DeleteExec forgets an exec that has ended. A running one is refused.
func (s *Service) DeleteExec(ctx context.Context, ns, id, execID string) error {
	t, err := s.find(ns, id)
	if err != nil {
		return err
	}
	if execID == "" {
		return errdefs.InvalidArgument("task %s: no exec id", id)
	}
	p, err := t.process(execID)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	default:
		return errdefs.FailedPrecondition("exec %s of task %s is running", execID, id)
	}
	if !t.isLost() {
		err = call(ctx, quickCall, func(ctx context.Context) error {
			_, err := t.rpc.Delete(ctx, &taskapi.ProcessRequest{ID: id, ExecID: execID})
			return err
		})
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("task %s: delete exec %s: %w", id, execID, err)
		}
	}
	t.remove(execID)
	return nil
}
