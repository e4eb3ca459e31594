package task

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/base/errdefs"
)

// Bounds of calls to a shim. A shim answers at once; the bounds keep a stopped or broken one from holding a caller
// for ever. Create, Start and Exec run the container's hooks, which may take their time.
const (
	quickCall = 20 * time.Second
	slowCall  = 3 * time.Minute
)

// task is one bundle, its shim, and the processes that run in it.
//
//	reserve -> launch -> created -> running <-> paused -> stopped -> deleted
//	                        \______________________________/
//	                          the shim dies: lost, swept, stopped with 137
type task struct {
	key
	service *Service
	dir     string

	// Set by Create or Recover before the task is ready, constant afterwards.
	shim   *shimProcess
	client *ttrpc.Client
	rpc    *taskapi.Client
	cgroup map[string]string

	deletion sync.Mutex // serialises Delete
	sweeping sync.Once  // what is left behind by a dead shim is swept once

	mu       sync.Mutex
	isReady  bool
	paused   bool
	released bool // deleted, or left to another Service: a closed connection is no news
	lost     bool
	procs    map[string]*process
}

func (t *task) ready() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isReady
}

// connect opens the ttrpc connection to the shim.
func (t *task) connect() error {
	conn, err := dial(t.dir, shim.SocketName, "unix")
	if err != nil {
		return fmt.Errorf("connect to the shim: %w", err)
	}
	t.client = ttrpc.NewClient(conn)
	t.rpc = taskapi.NewClient(t.client)
	return nil
}

// add makes the record of a process and waits for its end, or tells it when it has ended while the daemon was down.
func (t *task) add(p *process) {
	t.mu.Lock()
	t.procs[p.execID] = p
	if p.execID == "" {
		t.isReady = true
	}
	t.mu.Unlock()
	go func() {
		if !p.tellRecovered() {
			p.monitor()
		}
	}()
}

// process returns the task's own process ("") or one of its execs.
func (t *task) process(execID string) (*process, error) {
	t.mu.Lock()
	p := t.procs[execID]
	t.mu.Unlock()
	if p == nil {
		return nil, errdefs.NotFound("exec %s of task %s not found", execID, t.id)
	}
	return p, nil
}

func (t *task) remove(execID string) {
	t.mu.Lock()
	delete(t.procs, execID)
	t.mu.Unlock()
}

// release says that a closed connection is expected from now on.
func (t *task) release() {
	t.mu.Lock()
	t.released = true
	t.mu.Unlock()
}

func (t *task) isReleased() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.released
}

func (t *task) isLost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// abandon lets go of a live shim.
func (t *task) abandon() {
	t.release()
	if t.client != nil {
		_ = t.client.Close()
	}
	if t.shim != nil {
		t.shim.close()
	}
}

// call runs one call to the shim with a bound. The caller's cancellation counts only when it is harmless to not
// know the outcome.
func call(ctx context.Context, bound time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return fault(f(ctx))
}
