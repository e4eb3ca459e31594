// Package cleanup undoes half-made work: every step that succeeds adds its undo, and unless the whole succeeds
// (Release) they all run in exact reverse order.
package cleanup

import (
	"context"
	"errors"
	"time"
)

// Bound is how long one Run may take in all; clean-up must end even when the caller's context is gone.
const Bound = 30 * time.Second

// Stack holds undo steps. The zero value is ready; it is not for concurrent use.
//
//	var undo cleanup.Stack
//	defer undo.Run(ctx, &err)
//	... undo.Add(func(ctx context.Context) error { return release() })
//	undo.Release()
type Stack struct {
	steps []func(context.Context) error
}

// Add puts step on top of the stack.
func (s *Stack) Add(step func(context.Context) error) { s.steps = append(s.steps, step) }

// Release forgets all steps: the work is whole and stays.
func (s *Stack) Release() { s.steps = nil }

// Run undoes all steps, last added first, under a context of its own that the caller's cancellation does not
// reach. Failures join *err (when err is not nil); after Release it does nothing.
func (s *Stack) Run(ctx context.Context, err *error) {
	if len(s.steps) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Bound)
	defer cancel()
	for i := len(s.steps) - 1; i >= 0; i-- {
		if e := s.steps[i](ctx); e != nil && err != nil {
			*err = errors.Join(*err, e)
		}
	}
	s.steps = nil
}
