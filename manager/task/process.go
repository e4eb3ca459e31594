package task

import (
	"context"
	"sync"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// lostCode is the exit code of a process whose shim died: nobody can know the real one, and what was left of it
// got a SIGKILL.
const lostCode = 137

// process is one started or startable process of a task.
type process struct {
	task     *task
	execID   string
	pid      int
	terminal bool
	done     chan struct{} // closed when it has ended

	mu       sync.Mutex
	starting bool
	started  bool
	exit     *Exit // set when it has ended
	told     bool
}

func newProcess(t *task, execID string, terminal bool) *process {
	return &process{task: t, execID: execID, terminal: terminal, done: make(chan struct{})}
}

// monitor waits for the end of the process: the one outstanding Wait call.
func (p *process) monitor() {
	t := p.task
	ctx := t.service.context(context.Background(), t.key)
	resp, err := t.rpc.Wait(ctx, &taskapi.ProcessRequest{ID: t.id, ExecID: p.execID})
	if err != nil {
		if t.isReleased() {
			return
		}
		if answered(err) {
			logging.From(ctx).Error("wait for a process", "op", "wait", "exec", p.execID, "err", err)
		}
		if !t.sweepLost(ctx) {
			return
		}
		p.ended(Exit{Code: lostCode, At: time.Now(), Lost: true})
		return
	}
	at := time.Now()
	if resp.ExitedAt != nil {
		at = resp.ExitedAt.Time()
	}
	p.ended(Exit{Code: int(resp.ExitStatus), At: at, OOMKilled: resp.Extra.OrNone().OOMKilled})
}

// beginStart claims the one start that a process has.
func (p *process) beginStart() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.exit != nil:
		return errdefs.FailedPrecondition("process has ended with code %d", p.exit.Code)
	case p.starting || p.started:
		return errdefs.FailedPrecondition("process is started already")
	}
	p.starting = true
	return nil
}

// endStart records how the start went. An exit that came meanwhile is told now: never before the start.
func (p *process) endStart(ok bool) {
	p.mu.Lock()
	p.starting, p.started = false, ok
	tell := p.takeTelling()
	p.mu.Unlock()
	if tell != nil {
		go p.task.service.tell(*tell)
	}
}

// ended records the exit and tells it, once, when the process was started.
func (p *process) ended(e Exit) {
	e.Namespace, e.ID, e.ExecID, e.Pid = p.task.ns, p.task.id, p.execID, p.pid
	p.mu.Lock()
	if p.exit != nil {
		p.mu.Unlock()
		return
	}
	p.exit = &e
	tell := p.takeTelling()
	p.mu.Unlock()
	close(p.done)
	if tell != nil {
		p.task.service.tell(*tell)
	}
}

// tellRecovered tells the exit of a process that had ended when it was recovered; false: it has not.
func (p *process) tellRecovered() bool {
	p.mu.Lock()
	ended := p.exit != nil
	tell := p.takeTelling()
	p.mu.Unlock()
	if tell != nil {
		p.task.service.tell(*tell)
	}
	return ended
}

// takeTelling returns the exit when it is due to be told. p.mu is held.
func (p *process) takeTelling() *Exit {
	if p.exit == nil || !p.started || p.told {
		return nil
	}
	p.told = true
	return p.exit
}

// status is the process as this service knows it, without a call to the shim.
func (p *process) status() Status {
	paused := false
	if p.execID == "" {
		p.task.mu.Lock()
		paused = p.task.paused
		p.task.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{State: StateCreated, Pid: p.pid, Terminal: p.terminal}
	switch {
	case p.exit != nil:
		st.State, st.Pid = StateStopped, 0
		st.ExitCode, st.ExitedAt, st.OOMKilled = p.exit.Code, p.exit.At, p.exit.OOMKilled
	case paused:
		st.State = StatePaused
	case p.started:
		st.State = StateRunning
	}
	return st
}
