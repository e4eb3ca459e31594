package container

import (
	"sync"
	"time"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
)

// keepExecs is how long an ended exec can still be inspected.
const keepExecs = 5 * time.Minute

// sweepExecs is how often those are looked for that can be forgotten: probes leave thousands.
const sweepExecs = keepExecs / 10

// execution is one exec: made, started at most once, ended.
type execution struct {
	id        string
	container *Container
	req       types.ExecCreateRequest

	mu      sync.Mutex
	started bool
	running bool
	pid     int
	code    *int
	endedAt time.Time
	ended   chan struct{} // closed with the exit or the failure
}

func (e *execution) over() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.code != nil
}

// finish records the end once.
func (e *execution) finish(code int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.code != nil {
		return false
	}
	e.code, e.running, e.endedAt = &code, false, time.Now()
	close(e.ended)
	return true
}

// execIndex finds execs by id.
type execIndex struct {
	mu    sync.Mutex
	byID  map[string]*execution
	swept time.Time
}

func (x *execIndex) add(e *execution) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID == nil {
		x.byID = map[string]*execution{}
	}
	if time.Since(x.swept) > sweepExecs {
		x.sweep()
	}
	x.byID[e.id] = e
	e.container.set(func() { e.container.execs[e.id] = e })
}

// sweep forgets what ended long ago.
func (x *execIndex) sweep() {
	x.swept = time.Now()
	for id, old := range x.byID {
		old.mu.Lock()
		expired := old.code != nil && time.Since(old.endedAt) > keepExecs
		old.mu.Unlock()
		if expired {
			delete(x.byID, id)
			old.container.set(func() { delete(old.container.execs, id) })
		}
	}
}

func (x *execIndex) find(id string) (*execution, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.byID[id]
	if !ok {
		return nil, errdefs.NotFound("No such exec instance: %s", id)
	}
	return e, nil
}

// forget takes one exec out, as health probes do when they are done.
func (x *execIndex) forget(e *execution) {
	x.mu.Lock()
	delete(x.byID, e.id)
	x.mu.Unlock()
	e.container.set(func() { delete(e.container.execs, e.id) })
}

// killed is the exit code of an exec that ended with its container before it was told.
const killed = 137

// endExecs records the end of a container's execs that were not told: the end of its first process is the end of all.
func (c *Container) endExecs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.execs {
		e.mu.Lock()
		started := e.started
		e.mu.Unlock()
		if started {
			e.finish(killed)
		}
	}
}

// drop takes out the execs of a removed container.
func (x *execIndex) drop(containerID string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, e := range x.byID {
		if e.container.id() == containerID {
			delete(x.byID, id)
		}
	}
}
