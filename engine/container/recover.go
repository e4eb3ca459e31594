package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/task"
	"github.com/conex-containers/conex/network"
)

// Bounds of what Open and Resume do at once, how long Resume waits for it, and the exit code of a container that a
// boot ended.
const (
	sweepParallel = 8
	bootParallel  = 4
	settleBound   = 10 * time.Second
	lostExitCode  = 255
)

// Open loads the containers and adopts those that run; it returns their endpoints, out of which the network is to be
// restored before Resume. What crashes left is removed: half-made containers, and the rest of removed ones. Exits
// wait for Resume: an endpoint cannot be given back before the network knows what it has.
func (s *Service) Open(ctx context.Context) ([]network.Endpoint, error) {
	runs, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	if s.bootID, err = metadata.BootID(); err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	if err := errors.Join(s.sweep(ctx), s.sweepNotes(runs)); err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	recovered, err := s.cfg.Tasks.Recover(ctx, s.exitedAfterResume)
	if err != nil {
		return nil, fmt.Errorf("containers: %w", err)
	}
	endpoints := s.adopt(ctx, recovered, runs)
	s.lost(ctx, runs)
	return endpoints, nil
}

// exitedAfterResume is exited, for exits that may be told while tasks are being adopted.
func (s *Service) exitedAfterResume(e task.Exit) {
	select {
	case <-s.resumed:
		s.exited(e)
	default:
		go func() {
			select {
			case <-s.resumed:
				s.exited(e)
			case <-s.base.Done(): // closed: the next Open hears of it again
			}
		}()
	}
}

// load reads all records into the index and returns what ran when the engine ended, by id.
func (s *Service) load(ctx context.Context) (map[string]running, error) {
	runs := map[string]running{}
	for _, db := range []Database{s.cfg.Durable, s.cfg.Volatile} {
		err := db.View(ctx, func(tx *metadata.Tx) error {
			return ignoreNotFound(tx.Each(metadata.Containers, s.cfg.Namespace, "", func(key string, raw []byte) error {
				var rec Record
				if err := json.Unmarshal(raw, &rec); err != nil {
					return fmt.Errorf("record %s: %w", key, err)
				}
				if rec.Config == nil || rec.HostConfig == nil {
					return fmt.Errorf("record %s: it has no configuration", key)
				}
				if err := s.index.reserve(rec.Name, rec.ID); err != nil {
					return err
				}
				s.index.add(newContainer(rec))
				if linksByFile(rec.HostConfig) {
					s.linked.Store(true)
				}
				return nil
			}))
		})
		if err != nil {
			return nil, err
		}
	}
	err := s.cfg.Volatile.View(ctx, func(tx *metadata.Tx) error {
		return ignoreNotFound(tx.Each(metadata.Containers, s.runningNamespace(), "", func(key string, raw []byte) error {
			var run running
			if err := json.Unmarshal(raw, &run); err != nil {
				return fmt.Errorf("run of %s: %w", key, err)
			}
			runs[key] = run
			return nil
		}))
	})
	return runs, err
}

// sweep removes what belongs to no whole container: records without a root file system (but of a run that is still
// there), root file systems and directories without a record.
func (s *Service) sweep(ctx context.Context) error {
	have := map[string]bool{}
	var stray []string
	err := s.cfg.Snapshots.Walk(ctx, func(i snapshot.Info) error {
		if i.Labels[snapshotLabel] != s.cfg.Namespace {
			return nil
		}
		owner := i.Labels[ownerLabel]
		if owner == "" {
			owner = i.Key
			have[i.Key] = true
		}
		if s.index.get(owner) == nil {
			stray = append(stray, i.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(sweepParallel)
	for _, key := range stray {
		group.Go(func() error { return ignoreNotFound(s.cfg.Snapshots.Remove(ctx, key)) })
	}
	for _, c := range s.index.all() {
		if have[c.id()] {
			s.useVolumes(ctx, c)
			continue
		}
		logging.From(ctx).Warn("removing a half-made container", "container", c.id())
		s.index.remove(c)
		group.Go(func() error { return ignoreNotFound(s.erase(ctx, &c.rec)) })
	}
	for _, root := range []string{s.cfg.DataRoot, s.cfg.ExecRoot} {
		dir := filepath.Join(root, containersDir)
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(err, group.Wait())
		}
		for _, e := range entries {
			if s.index.get(e.Name()) == nil {
				group.Go(func() error { return os.RemoveAll(filepath.Join(dir, e.Name())) })
			}
		}
	}
	return group.Wait()
}

func (s *Service) useVolumes(ctx context.Context, c *Container) {
	for _, m := range c.rec.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		if err := s.cfg.Volumes.Use(m.Name, c.id()); err != nil {
			logging.From(ctx).Warn("volume of a container", "container", c.id(), "err", err)
		}
	}
}

// adopt gives the containers whose tasks live their state; runs keeps what was not adopted. The endpoints are those
// of processes that run: of one that ended meanwhile, the network's restoration sweeps away what the kernel still has.
func (s *Service) adopt(ctx context.Context, recovered []task.Recovered, runs map[string]running) []network.Endpoint {
	var endpoints []network.Endpoint
	for _, t := range recovered {
		if t.NetNS != nil {
			_ = t.NetNS.Close()
		}
		if t.Namespace != s.cfg.Namespace {
			continue
		}
		c := s.index.get(t.ID)
		run, ran := runs[t.ID]
		if c == nil || !ran || t.Status.State == task.StateCreated {
			logging.From(ctx).Warn("removing a task that was not started", "container", t.ID)
			if err := ignoreNotFound(s.cfg.Tasks.Delete(ctx, s.cfg.Namespace, t.ID)); err != nil {
				logging.From(ctx).Error("remove a task", "container", t.ID, "err", err)
			}
			continue
		}
		delete(runs, t.ID)
		s.adoptRun(c, run, t.Status)
		if t.Status.State != task.StateStopped {
			endpoints = append(endpoints, run.Endpoints...)
			continue
		}
		s.past = append(s.past, task.Exit{
			Namespace: t.Namespace, ID: t.ID, Code: t.Status.ExitCode, At: t.Status.ExitedAt, OOMKilled: t.Status.OOMKilled,
		})
	}
	return endpoints
}

func (s *Service) adoptRun(c *Container, run running, st task.Status) {
	if st.Pid != 0 {
		run.Pid = st.Pid
	}
	for _, m := range c.record().Mounts {
		if m.Attach {
			s.cfg.Attachments.Resume(m.Name, c.id())
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.run, c.ended, c.state = run, make(chan struct{}), types.StateRunning
	c.rec.HasStarted, c.rec.StartedAt = true, run.StartedAt
	if run.Ended != nil {
		c.rec.ManuallyStopped = run.Ended.ManuallyStopped
	}
	if st.State == task.StatePaused {
		c.state = types.StatePaused
	}
	if st.State == task.StateRunning {
		s.watchHealth(c)
	}
}

// lost settles containers that ran when the engine ended and of which no task is left: their shims were killed, or
// the machine booted.
func (s *Service) lost(ctx context.Context, runs map[string]running) {
	for id, run := range runs {
		c := s.index.get(id)
		if c == nil {
			if err := s.forgetRun(ctx, id); err != nil {
				logging.From(ctx).Error("run of an unknown container", "container", id, "err", err)
			}
			continue
		}
		s.adoptRun(c, run, task.Status{})
		exit := task.Exit{Namespace: s.cfg.Namespace, ID: id, Code: 137, At: time.Now(), Lost: true}
		if e := run.Ended; e != nil {
			exit.Code, exit.At, exit.OOMKilled, exit.Lost = e.Code, e.At, e.OOMKilled, false
		}
		s.past = append(s.past, exit)
	}
	for _, c := range s.index.all() {
		c.mu.Lock()
		if c.rec.ShouldRun && !c.alive() {
			c.rec.ExitCode, c.rec.FinishedAt = lostExitCode, time.Now().UTC()
		}
		c.mu.Unlock()
	}
}

// Resume, called once after Open, handles the exits that happened meanwhile, and starts the containers that their
// restart policies want after the engine's start, oldest first, on the side.
func (s *Service) Resume(context.Context) {
	s.resolveAll()
	s.forwardAll()
	s.settle()
	close(s.resumed)
	all := s.index.all()
	slices.Reverse(all)
	s.background(func(ctx context.Context) {
		var group errgroup.Group
		group.SetLimit(bootParallel)
		for _, c := range all {
			if v := c.view(); v.alive() || v.State == types.StateRestarting {
				continue
			}
			rec := c.record()
			if !wantsBoot(&rec) {
				if rec.ShouldRun {
					rec.ShouldRun = false
					c.set(func() { c.rec.ShouldRun = false })
					s.persist(ctx, &rec)
				}
				continue
			}
			group.Go(func() error {
				s.boot(s.context(ctx, c), c, rec)
				return nil
			})
		}
		_ = group.Wait() // the functions return no error
	})
}

// settle handles the exits that Open found, so that no client sees a container as running that is not. A shim that
// hangs does not hold up the engine's start: the rest then goes on on the side.
func (s *Service) settle() {
	done := make(chan struct{})
	s.background(func(ctx context.Context) {
		defer close(done)
		var group errgroup.Group
		group.SetLimit(sweepParallel)
		for _, e := range s.past {
			if c := s.index.get(e.ID); c != nil {
				group.Go(func() error {
					s.handleExit(ctx, c, e)
					return nil
				})
			}
		}
		_ = group.Wait() // the functions return no error
		s.removeUnused(ctx)
	})
	timer := time.NewTimer(settleBound)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-s.base.Done():
	}
}

// removeUnused removes the `--rm` containers that do not run: their client was to start them, or the engine was to
// remove them, and neither will.
func (s *Service) removeUnused(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(sweepParallel)
	for _, c := range s.index.all() {
		if v := c.view(); !v.HostConfig.AutoRemove || v.alive() || v.State == types.StateRestarting {
			continue
		}
		group.Go(func() error {
			c.op.lock()
			defer c.op.unlock()
			if v := c.view(); !v.alive() && !c.gone() {
				s.autoRemove(s.context(ctx, c), c)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
	if err := s.cfg.Volumes.Sweep(ctx); err != nil {
		logging.From(ctx).Error("volumes of nobody", "err", err)
	}
}

// boot starts a container for the engine's start, unless somebody was faster: who has started it since it was seen, and
// perhaps stopped it again, knows better.
func (s *Service) boot(ctx context.Context, c *Container, seen Record) {
	if ctx.Err() != nil {
		return
	}
	c.op.lock()
	defer c.op.unlock()
	if now := c.record(); !now.StartedAt.Equal(seen.StartedAt) || now.ManuallyStopped != seen.ManuallyStopped {
		return
	}
	err := s.startLocked(context.WithoutCancel(ctx), c)
	if err != nil && !errdefs.Is(err, errdefs.ErrNotModified) {
		logging.From(ctx).Warn("restart after the engine's start", "op", "start", "err", err)
	}
}
