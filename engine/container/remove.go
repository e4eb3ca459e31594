package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/filter"
)

// ContainerRemove deletes a container, with force also a running one, with volumes its anonymous volumes too.
func (s *Service) ContainerRemove(ctx context.Context, ref string, force, volumes bool) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(s.context(ctx, c))
	ended, err := s.beginRemove(c, force)
	if err != nil {
		return err
	}
	if ended != nil {
		if err := s.killNow(ctx, c, ended); err != nil {
			c.set(func() { c.removing = false })
			return fmt.Errorf("cannot remove container %q: could not kill container: %w", "/"+c.name(), err)
		}
	}
	c.op.lock()
	defer c.op.unlock()
	if c.gone() {
		return nil // it was an --rm container, and its exit removed it
	}
	if err := s.remove(ctx, c, volumes); err != nil {
		c.set(func() { c.removing = false })
		return fmt.Errorf("container %s: remove: %w", c.id(), err)
	}
	return nil
}

// beginRemove marks a container as being removed: from then on nothing starts it. For a running one it returns the
// channel of the run's end.
func (s *Service) beginRemove(c *Container, force bool) (<-chan struct{}, error) {
	c.op.lock()
	defer c.op.unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removing {
		return nil, errdefs.Conflict("removal of container %s is already in progress", c.rec.ID)
	}
	if !force {
		switch c.state {
		case types.StatePaused:
			return nil, errdefs.Conflict("cannot remove container %q: container is paused and must be unpaused first", "/"+c.rec.Name)
		case types.StateRunning:
			return nil, errdefs.Conflict("cannot remove container %q: container is running: stop the container before removing or force remove", "/"+c.rec.Name)
		case types.StateRestarting:
			return nil, errdefs.Conflict("cannot remove container %q: container is restarting: stop the container before removing or force remove", "/"+c.rec.Name)
		}
	}
	c.removing = true
	if c.state == types.StateRestarting && c.wake != nil {
		close(c.wake)
		c.wake, c.state = nil, types.StateExited
	}
	if c.alive() {
		c.rec.ManuallyStopped = true
		return c.ended, nil
	}
	return nil, nil
}

// gone tells whether a container was removed.
func (c *Container) gone() bool { return c.phase() == removed }

// removed is the state of what is no longer in the index; no client sees it.
const removed types.ContainerState = "removed"

// autoRemove removes an `--rm` container after its exit; the operation lock is held.
func (s *Service) autoRemove(ctx context.Context, c *Container) {
	c.set(func() { c.removing = true })
	if err := s.remove(ctx, c, true); err != nil {
		c.set(func() { c.removing, c.state = false, types.StateDead })
		logging.From(ctx).Error("remove after the exit", "op", "remove", "err", err)
	}
}

// remove takes away everything that a stopped container has. The record goes last: what a crash leaves is removed
// by Open, or by a second call.
func (s *Service) remove(ctx context.Context, c *Container, volumes bool) error {
	closeStreams(c.takeStreams())
	c.mu.Lock()
	rec := c.rec
	c.mu.Unlock()
	s.forwards.finish(rec.ID)
	var group errgroup.Group
	group.Go(func() error { return ignoreNotFound(s.cfg.Snapshots.Remove(ctx, rec.ID)) })
	group.Go(func() error { return s.dropViews(ctx, &rec) })
	group.Go(func() error { return s.removeDirs(&rec) })
	group.Go(func() error { return ignoreNotFound(s.erase(ctx, &rec)) })
	if err := group.Wait(); err != nil {
		return err
	}
	if err := s.dropVolumes(ctx, &rec, volumes); err != nil {
		logging.From(ctx).Warn("anonymous volumes", "op", "remove", "err", err)
	}
	s.execs.drop(rec.ID)
	s.index.remove(c)
	c.set(func() { c.state = removed })
	s.publish(&rec, events.ActionDestroy)
	c.tell(true)
	return nil
}

// removeDirs removes the container's files on both roots.
func (s *Service) removeDirs(rec *Record) error {
	err := os.RemoveAll(s.dir(rec.ID))
	if rec.HostConfig.AutoRemove {
		err = errors.Join(err, os.RemoveAll(s.runDir(rec.ID)), s.dropNote(rec.ID))
	}
	return err
}

func (s *Service) dropVolumes(ctx context.Context, rec *Record, anonymous bool) error {
	var errs []error
	for _, m := range rec.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		s.cfg.Volumes.Release(m.Name, rec.ID)
		if !anonymous || !m.Anonymous {
			continue
		}
		err := s.cfg.Volumes.Remove(ctx, m.Name, true)
		if err != nil && !errdefs.IsConflict(err) { // another container has it by volumes-from
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ContainersPrune removes all stopped containers that pass the filters.
func (s *Service) ContainersPrune(ctx context.Context, f docker.Filters) (types.PruneReport, error) {
	report := types.PruneReport{ContainersDeleted: []string{}}
	if err := filter.Known(f, "label", "label!", "until"); err != nil {
		return report, err
	}
	until, err := filter.Until(f, time.Now())
	if err != nil {
		return report, err
	}
	for _, c := range s.index.all() {
		if ctx.Err() != nil {
			break
		}
		v := c.view()
		if v.alive() || v.State == types.StateRestarting || !until.IsZero() && v.CreatedAt.After(until) || !filter.Labels(f, v.Config.Labels) {
			continue
		}
		usage, err := s.cfg.Snapshots.Usage(ctx, v.ID)
		if err != nil {
			usage.Size = 0
		}
		if err := s.ContainerRemove(ctx, v.ID, false, false); err != nil {
			logging.From(ctx).Warn("prune", "op", "prune", "container", v.ID, "err", err)
			continue
		}
		report.ContainersDeleted = append(report.ContainersDeleted, v.ID)
		report.SpaceReclaimed += uint64(max(usage.Size, 0))
	}
	s.cfg.Events.Publish(events.ContainerEventType, events.ActionPrune, "", map[string]string{"reclaimed": fmt.Sprint(report.SpaceReclaimed)})
	return report, nil
}
