package container

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// killBound is how long a SIGKILL may take until the container counts as stuck.
const killBound = 10 * time.Second

// ContainerStop asks the process to end by the container's stop signal (or signal), and kills it after timeout
// seconds: nil means the container's own or the daemon's, a negative one waits for ever.
func (s *Service) ContainerStop(ctx context.Context, ref, signal string, timeout *int) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	return s.stopContainer(context.WithoutCancel(s.context(ctx, c)), c, signal, timeout)
}

func (s *Service) stopContainer(ctx context.Context, c *Container, signal string, timeout *int) error {
	sig, wait, err := s.stopHow(c, signal, timeout)
	if err != nil {
		return err
	}
	ended, err := s.beginStop(ctx, c)
	if err != nil || ended == nil {
		return err
	}
	if err := s.signal(ctx, c, sig); err != nil && !errdefs.IsNotFound(err) {
		logging.From(ctx).Warn("stop signal", "op", "stop", "err", err)
		wait = 0
	}
	if !within(ended, wait) {
		if err := s.killNow(ctx, c, ended); err != nil {
			return err
		}
	}
	rec := c.record()
	s.publish(&rec, events.ActionStop)
	return nil
}

// stopHow resolves signal and patience; a negative patience is for ever.
func (s *Service) stopHow(c *Container, signal string, timeout *int) (syscall.Signal, time.Duration, error) {
	cfg := c.record().Config
	if signal == "" {
		signal = cfg.StopSignal
	}
	if signal == "" {
		signal = "SIGTERM"
	}
	sig, err := parseSignal(signal)
	if err != nil {
		return 0, 0, err
	}
	seconds := s.cfg.StopTimeout
	if cfg.StopTimeout != nil {
		seconds = *cfg.StopTimeout
	}
	if timeout != nil {
		seconds = *timeout
	}
	return sig, time.Duration(seconds) * time.Second, nil
}

// beginStop waits for a start under way, notes that the user wants the container stopped, and returns the channel
// of the run's end; nil when there was only a restart to cancel.
func (s *Service) beginStop(ctx context.Context, c *Container) (<-chan struct{}, error) {
	c.op.lock()
	defer c.op.unlock()
	c.mu.Lock()
	state, ended := c.state, c.ended
	if state == types.StateRunning || state == types.StatePaused || state == types.StateRestarting {
		c.rec.ManuallyStopped, c.rec.ShouldRun = true, false
	}
	saved := c.rec
	c.mu.Unlock()
	switch state {
	case types.StateRunning, types.StatePaused:
		if !saved.HostConfig.RestartPolicy.IsNone() {
			// Before the signal: an engine that ends before it has heard of the exit would start the container again.
			s.persist(ctx, &saved)
		}
		return ended, nil
	case types.StateRestarting:
		c.endBackoff()
		s.persist(ctx, &saved)
		s.publish(&saved, events.ActionStop)
		c.tell(false)
		return nil, nil
	}
	return nil, errdefs.With(errdefs.ErrNotModified, errors.New("container is already stopped"))
}

func within(ended <-chan struct{}, wait time.Duration) bool {
	if wait < 0 {
		<-ended
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// goneBound is how long the end of a run may take to be handled after its shim has gone.
const goneBound = 5 * time.Second

// shimGone tells whether a call failed because the run has ended meanwhile: the shim, which is there until the end is
// handled, then breaks off what it was asked.
func shimGone(err error, ended <-chan struct{}) bool {
	return errdefs.Is(err, errdefs.ErrUnavailable) && within(ended, goneBound)
}

// end is closed when the present run is over.
func (c *Container) end() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// killNow ends a run for sure.
func (s *Service) killNow(ctx context.Context, c *Container, ended <-chan struct{}) error {
	if err := s.signal(ctx, c, syscall.SIGKILL); err != nil && !errdefs.IsNotFound(err) && !shimGone(err, ended) {
		return err
	}
	if !within(ended, killBound) {
		return errdefs.Unavailable("container %s: still running %v after SIGKILL: a process may be stuck in the kernel", c.id(), killBound)
	}
	return nil
}

// signal sends a signal to the container's first process, tells the event, and thaws a paused container, which
// could not act on it.
func (s *Service) signal(ctx context.Context, c *Container, sig syscall.Signal) error {
	rec := c.record()
	err := s.cfg.Tasks.Kill(ctx, s.cfg.Namespace, rec.ID, "", sig, false)
	if err == nil && c.phase() == types.StatePaused {
		err = s.cfg.Tasks.Resume(ctx, s.cfg.Namespace, rec.ID)
		if errdefs.Is(err, errdefs.ErrFailedPrecondition) || errdefs.IsNotFound(err) {
			err = nil // a SIGKILL has thawed it already
		}
		if err == nil {
			c.set(func() {
				if c.state == types.StatePaused {
					c.state = types.StateRunning
				}
			})
		}
	}
	if err == nil {
		s.publish(&rec, events.ActionKill, "signal", strconv.Itoa(int(sig)))
	}
	return err
}

// ContainerKill sends a signal, SIGKILL when none is named; after a SIGKILL it waits for the end.
func (s *Service) ContainerKill(ctx context.Context, ref, signal string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	sig := syscall.SIGKILL
	if signal != "" {
		if sig, err = parseSignal(signal); err != nil {
			return err
		}
	}
	ctx = context.WithoutCancel(s.context(ctx, c))
	c.op.lock()
	c.mu.Lock()
	alive, restarting, ended := c.alive(), c.state == types.StateRestarting, c.ended
	if (alive || restarting) && endsContainer(c.rec.Config.StopSignal, sig) {
		c.rec.ManuallyStopped = true
	}
	saved := c.rec
	c.mu.Unlock()
	switch {
	case restarting:
		c.endBackoff()
		s.persist(ctx, &saved)
		c.tell(false)
	case alive && saved.ManuallyStopped && !saved.HostConfig.RestartPolicy.IsNone():
		s.persist(ctx, &saved) // see beginStop
	}
	c.op.unlock()
	if restarting {
		return nil
	}
	if !alive {
		return errdefs.Conflict("cannot kill container: %s: container %s is not running", ref, c.id())
	}
	if sig == syscall.SIGKILL {
		return s.killNow(ctx, c, ended)
	}
	if err := s.signal(ctx, c, sig); err != nil {
		if errdefs.IsNotFound(err) || shimGone(err, ended) {
			return errdefs.Conflict("cannot kill container: %s: container %s is not running", ref, c.id())
		}
		return err
	}
	return nil
}

// endsContainer tells whether a signal means that the user wants the container to end: then no policy restarts it.
func endsContainer(stopSignal string, sig syscall.Signal) bool {
	if sig == syscall.SIGKILL {
		return true
	}
	if stopSignal == "" {
		return sig == syscall.SIGTERM
	}
	own, err := parseSignal(stopSignal)
	return err == nil && own == sig
}

// ContainerRestart stops the container when it runs and starts it.
func (s *Service) ContainerRestart(ctx context.Context, ref, signal string, timeout *int) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(s.context(ctx, c))
	// Between stop and start an `--rm` container must not be removed.
	c.set(func() { c.keep++ })
	defer c.set(func() { c.keep-- })
	err = s.stopContainer(ctx, c, signal, timeout)
	if err != nil && !errdefs.Is(err, errdefs.ErrNotModified) {
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	if err := s.startLocked(ctx, c); err != nil && !errdefs.Is(err, errdefs.ErrNotModified) {
		return err
	}
	rec := c.record()
	s.publish(&rec, events.ActionRestart)
	return nil
}

// ContainerPause freezes all processes.
func (s *Service) ContainerPause(ctx context.Context, ref string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	switch c.phase() {
	case types.StatePaused:
		return errdefs.Conflict("container %s is already paused", c.id())
	case types.StateRestarting:
		return errdefs.Conflict("container %s is restarting, wait until the container is running", c.id())
	case types.StateRunning:
	default:
		return errdefs.Conflict("container %s is not running", c.id())
	}
	if err := s.cfg.Tasks.Pause(ctx, s.cfg.Namespace, c.id()); err != nil {
		return err
	}
	return s.paused(ctx, c, types.StateRunning, types.StatePaused, events.ActionPause)
}

// ContainerUnpause thaws them.
func (s *Service) ContainerUnpause(ctx context.Context, ref string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	if c.phase() != types.StatePaused {
		return errdefs.Conflict("Container %s is not paused", c.id())
	}
	if err := s.cfg.Tasks.Resume(ctx, s.cfg.Namespace, c.id()); err != nil {
		return err
	}
	return s.paused(ctx, c, types.StatePaused, types.StateRunning, events.ActionUnPause)
}

func (s *Service) paused(ctx context.Context, c *Container, from, to types.ContainerState, action events.Action) error {
	c.mu.Lock()
	if c.state == from {
		c.state = to
	}
	c.run.Paused = to == types.StatePaused
	run, rec := c.run, c.rec
	c.mu.Unlock()
	s.publish(&rec, action)
	return s.saveRun(ctx, rec.ID, run)
}
