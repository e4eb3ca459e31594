package container

import (
	"context"
	"errors"
	"strconv"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/task"
)

// exited is told by the task service of each process that ended.
func (s *Service) exited(e task.Exit) {
	if e.Namespace != s.cfg.Namespace {
		return
	}
	if e.ExecID != "" {
		s.execExited(e)
		return
	}
	c := s.index.get(e.ID)
	if c == nil {
		return
	}
	s.background(func(ctx context.Context) { s.handleExit(ctx, c, e) })
}

func (s *Service) handleExit(ctx context.Context, c *Container, e task.Exit) {
	c.op.lock()
	defer c.op.unlock()
	s.afterExit(s.context(ctx, c), c, e)
}

// afterExit cleans up after a run, decides what comes next, and tells those who wait. The operation lock is held.
func (s *Service) afterExit(ctx context.Context, c *Container, e task.Exit) {
	c.mu.Lock()
	if !c.alive() || e.Pid != 0 && c.run.Pid != 0 && e.Pid != c.run.Pid {
		c.mu.Unlock()
		return
	}
	run, monitor, ended := c.run, c.monitor, c.ended
	c.monitor = nil
	run.Ended = &ending{Code: e.Code, At: e.At, OOMKilled: e.OOMKilled, ManuallyStopped: c.rec.ManuallyStopped}
	c.mu.Unlock()
	if monitor != nil {
		monitor.Stop()
	}
	s.clean(ctx, c, run)
	c.endExecs()
	c.mu.Lock()
	rec := &c.rec
	rec.ExitCode, rec.OOMKilled, rec.FinishedAt = e.Code, e.OOMKilled, e.At.UTC()
	rec.UpdatedAt = time.Now().UTC()
	ran := rec.FinishedAt.Sub(run.StartedAt)
	again := !c.removing && wantsRestart(rec.HostConfig.RestartPolicy, e.Code, rec.RestartCount, rec.ManuallyStopped)
	c.run = running{}
	if again {
		c.state = types.StateRestarting
		c.retry = nextBackoff(c.retry, ran)
		c.wake = make(chan struct{})
	} else {
		c.state, rec.ShouldRun = types.StateExited, false
	}
	pause, wake, saved, keep := c.retry, c.wake, c.rec, c.keep > 0
	c.mu.Unlock()
	if e.OOMKilled {
		s.publish(&saved, events.ActionOOM)
	}
	for _, n := range run.Endpoints {
		s.networkEvent(events.ActionDisconnect, n.Network, saved.ID)
	}
	for _, m := range saved.Mounts {
		if m.Type == mount.TypeVolume {
			s.cfg.Events.Publish(events.VolumeEventType, events.ActionUnmount, m.Name, map[string]string{"container": saved.ID, "driver": m.Driver})
		}
	}
	s.publish(&saved, events.ActionDie, "exitCode", strconv.Itoa(e.Code), "execDuration", strconv.Itoa(int(ran.Seconds())))
	logging.From(ctx).Info("container exited", "op", "exit", "code", e.Code)
	close(ended)
	switch {
	case again:
		s.keepEnd(ctx, &saved)
		s.background(func(ctx context.Context) { s.restartAfter(s.context(ctx, c), c, pause, wake) })
	case saved.HostConfig.AutoRemove && !keep:
		c.tell(false)
		s.autoRemove(ctx, c)
	default:
		c.tell(false)
		s.keepEnd(ctx, &saved)
	}
}

// alive tells whether a process exists; the mutex is held.
func (c *Container) alive() bool {
	return c.state == types.StateRunning || c.state == types.StatePaused
}

// clean gives back what a run had: the task and its shim, and the endpoints. The record of the run stays, and says how
// it ended, until keepEnd; with an `--rm` container until it is removed. So a crash in between is settled by Open.
func (s *Service) clean(ctx context.Context, c *Container, run running) {
	id := c.id()
	var group errgroup.Group
	group.Go(func() (err error) {
		if !c.record().HostConfig.AutoRemove {
			err = s.saveRun(ctx, id, run)
		}
		return errors.Join(err, ignoreNotFound(s.cfg.Tasks.Delete(ctx, s.cfg.Namespace, id)))
	})
	group.Go(func() error { return s.detach(ctx, run.Endpoints) })
	if err := group.Wait(); err != nil {
		logging.From(ctx).Error("clean up after an exit", "op", "exit", "err", err)
	}
	s.detachVolumes(ctx, id, c.record().Mounts)
}

// keepEnd brings the end of a run into the container's record; only then the record of the run can go.
func (s *Service) keepEnd(ctx context.Context, rec *Record) {
	err := s.save(ctx, rec)
	if err == nil {
		err = s.forgetRun(ctx, rec.ID)
	}
	if err != nil {
		logging.From(ctx).Error("container record", "op", "exit", "err", err)
	}
}

// persist saves a record where a failure can only be logged: the next change or the next start tries again.
func (s *Service) persist(ctx context.Context, rec *Record) {
	if err := s.save(ctx, rec); err != nil {
		logging.From(ctx).Error("container record", "op", "save", "err", err)
	}
}

// restartAfter waits out the back-off and starts again, unless somebody stopped or started it meanwhile.
func (s *Service) restartAfter(ctx context.Context, c *Container, pause time.Duration, wake chan struct{}) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-wake:
		return
	case <-timer.C:
	}
	c.op.lock()
	defer c.op.unlock()
	c.mu.Lock()
	mine := c.state == types.StateRestarting && c.wake == wake && !c.removing
	if mine {
		c.rec.RestartCount++
	}
	c.mu.Unlock()
	if !mine {
		return
	}
	if err := s.start(context.WithoutCancel(ctx), c); err != nil {
		s.afterFailedStart(ctx, c, err)
	}
}

// endBackoff ends a waiting restart; the state is exited then.
func (c *Container) endBackoff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != types.StateRestarting {
		return
	}
	c.state, c.rec.ShouldRun = types.StateExited, false
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}
