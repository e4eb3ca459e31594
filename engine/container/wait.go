package container

import (
	"context"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
)

// waiter waits for a container's exit or removal.
type waiter struct {
	removed bool
	result  chan types.WaitResponse // capacity 1
}

// ContainerWait registers before it returns; the result function blocks until the condition holds or ctx ends. Only a
// wait that failed has an Error: why a start failed is the start's answer, and the code says it too.
func (s *Service) ContainerWait(ctx context.Context, ref string, cond types.WaitCondition) (func() types.WaitResponse, error) {
	switch cond {
	case "":
		cond = types.WaitConditionNotRunning
	case types.WaitConditionNotRunning, types.WaitConditionNextExit, types.WaitConditionRemoved:
	default:
		return nil, errdefs.InvalidArgument("invalid condition: %q", cond)
	}
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == removed || cond == types.WaitConditionNotRunning && !c.active() {
		now := types.WaitResponse{StatusCode: int64(c.rec.ExitCode)}
		return func() types.WaitResponse { return now }, nil
	}
	w := &waiter{removed: cond == types.WaitConditionRemoved, result: make(chan types.WaitResponse, 1)}
	c.waiters = append(c.waiters, w)
	return func() types.WaitResponse {
		select {
		case r := <-w.result:
			return r
		case <-ctx.Done():
			c.forget(w)
			return types.WaitResponse{StatusCode: -1, Error: &types.WaitExitError{Message: ctx.Err().Error()}}
		}
	}, nil
}

// active tells whether the container runs or is about to run again; the mutex is held.
func (c *Container) active() bool {
	return c.state == types.StateRunning || c.state == types.StatePaused || c.state == types.StateRestarting
}

func (c *Container) forget(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.waiters {
		if x == w {
			c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
			return
		}
	}
}

// tell answers the waiters for an exit, or all of them at the removal.
func (c *Container) tell(removed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.waiters[:0]
	for _, w := range c.waiters {
		if w.removed && !removed {
			kept = append(kept, w)
			continue
		}
		w.result <- types.WaitResponse{StatusCode: int64(c.rec.ExitCode)}
	}
	clear(c.waiters[len(kept):])
	c.waiters = kept
}
