package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/task"
	"github.com/conex-containers/conex/network"
)

// ContainerStart starts a container that does not run.
func (s *Service) ContainerStart(ctx context.Context, ref string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(s.context(ctx, c))
	c.op.lock()
	defer c.op.unlock()
	return s.startLocked(ctx, c)
}

// startLocked checks the state and starts; the operation lock is held.
func (s *Service) startLocked(ctx context.Context, c *Container) error {
	c.mu.Lock()
	state, removing := c.state, c.removing
	c.mu.Unlock()
	switch {
	case removing:
		return errdefs.Conflict("container is marked for removal and cannot be started")
	case state == types.StatePaused:
		return errdefs.Conflict("cannot start a paused container, try unpause instead")
	case state == types.StateRunning:
		return errdefs.With(errdefs.ErrNotModified, errors.New("container is already running"))
	case state == types.StateRestarting:
		c.endBackoff()
	case state == types.StateDead:
		return errdefs.Conflict("container is marked for removal and cannot be started")
	}
	c.set(func() { c.rec.RestartCount, c.retry, c.rec.ManuallyStopped = 0, 0, false })
	err := s.start(ctx, c)
	if err != nil {
		s.afterFailedStart(ctx, c, err)
	}
	return err
}

// run is one start under way.
type starting struct {
	s         *Service
	c         *Container
	rec       Record
	undo      cleanup.Stack
	endpoints []network.Endpoint
	netns     *os.File
	spec      *specs.Spec
	after     releases
	pid       int
	at        time.Time
}

// start is the road from a record to a running process; the operation lock is held.
//
//	network.Reserve ─▶ files ─▶ spec.Build ─┬▶ task.Create (netns, waiting clients) ─┬▶ record ─▶ task.Start
//	                                        ├▶ network.Attach ───────────────────────┤
//	                                        └▶ durable record ───────────────────────┘
//
// On an error everything is undone.
func (s *Service) start(ctx context.Context, c *Container) (err error) {
	r := &starting{s: s, c: c, rec: c.record()}
	streams := c.takeStreams()
	handed := false
	defer func() {
		if !handed {
			closeStreams(streams)
		}
		if r.netns != nil {
			_ = r.netns.Close()
		}
		r.after.run()
		r.undo.Run(ctx, nil)
	}()
	namespace := r.openNamespace(ctx)
	if err := r.prepare(ctx); err != nil {
		r.netns, _ = namespace() // closed on the way out
		return err
	}
	if r.netns, err = namespace(); err != nil {
		return fmt.Errorf("container %s: %w", r.rec.ID, err)
	}
	taken, err := taskStreams(streams)
	handed = true
	if err != nil {
		return fmt.Errorf("container %s: %w", r.rec.ID, err)
	}
	if err := r.create(ctx, taken); err != nil {
		return err
	}
	noted := make(chan struct{})
	go func() { // beside the start, which takes longer
		defer close(noted)
		s.note(ctx, &r.rec)
	}()
	err = s.cfg.Tasks.Start(ctx, s.cfg.Namespace, r.rec.ID)
	<-noted
	if err != nil {
		return startError(err)
	}
	r.undo.Release()
	r.commit(ctx)
	return nil
}

// openNamespace makes the network namespace on the side; the returned function waits for it.
func (r *starting) openNamespace(ctx context.Context) func() (*os.File, error) {
	mode := r.rec.HostConfig.NetworkMode
	if mode.IsHost() {
		return func() (*os.File, error) { return nil, nil }
	}
	if mode.IsContainer() {
		return func() (*os.File, error) { return r.s.joinedNamespace(mode.ConnectedContainer(), "net") }
	}
	type made struct {
		f   *os.File
		err error
	}
	ch := make(chan made, 1)
	go func() {
		f, err := r.s.cfg.Network.NewNamespace(ctx)
		ch <- made{f, err}
	}()
	return func() (*os.File, error) {
		m := <-ch
		r.netns = m.f
		return m.f, m.err
	}
}

// joinedNamespace opens a namespace of another running container. The other's operation lock is not needed: the
// descriptor is of its process's namespace or, when that has just ended and another process has its pid, of none of
// ours, which the second look at the state tells.
func (s *Service) joinedNamespace(ref, kind string) (*os.File, error) {
	other, pid, err := s.runningPid(ref)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind))
	if err != nil {
		return nil, errdefs.Conflict("cannot join %s namespace of container %s: %w", kind, ref, err)
	}
	if v := other.view(); !v.alive() || v.Run.Pid != pid {
		_ = f.Close()
		return nil, errdefs.Conflict("cannot join %s namespace of a non running container: %s", kind, ref)
	}
	return f, nil
}

func (s *Service) runningPid(ref string) (*Container, int, error) {
	other, err := s.index.find(ref)
	if err != nil {
		return nil, 0, err
	}
	v := other.view()
	if !v.alive() {
		return nil, 0, errdefs.Conflict("cannot join the namespace of a non running container: %s", v.ID)
	}
	return other, v.Run.Pid, nil
}

// prepare does what needs no process: addresses and ports, files, and the specification.
func (r *starting) prepare(ctx context.Context) error {
	if err := r.s.checkLinks(&r.rec); err != nil {
		return err
	}
	if err := r.attachVolumes(ctx); err != nil {
		return err
	}
	connections, err := r.s.connections(&r.rec)
	if err != nil {
		return err
	}
	for _, conn := range connections {
		e, err := r.s.cfg.Network.Reserve(ctx, conn.request(&r.rec))
		if err != nil {
			return fmt.Errorf("failed to set up container networking: %w", err)
		}
		r.undo.Add(func(ctx context.Context) error { return r.s.cfg.Network.Detach(ctx, e) })
		r.endpoints = append(r.endpoints, e)
	}
	files, err := r.files()
	if err != nil {
		return err
	}
	r.spec, err = r.s.buildSpec(ctx, &r.rec, files, &r.after)
	return err
}

// attachVolumes mounts the volumes that are there only while somebody has them.
func (r *starting) attachVolumes(ctx context.Context) error {
	mounts, release, err := r.s.attachVolumes(ctx, r.rec.ID, r.rec.Mounts)
	if err != nil {
		return err
	}
	r.rec.Mounts = mounts
	r.undo.Add(func(context.Context) error { release(); return nil })
	return nil
}

// files are the container's own /etc files, or those of the container whose network it joins; with them it takes that
// one's names.
func (r *starting) files() (spec.Files, error) {
	if !r.rec.HostConfig.NetworkMode.IsContainer() {
		return r.s.writeFiles(&r.rec, r.endpoints)
	}
	owner, err := r.s.networkOwner(&r.rec)
	if err != nil {
		return spec.Files{}, err
	}
	cfg := *r.rec.Config
	cfg.Hostname, cfg.Domainname = owner.Config.Hostname, owner.Config.Domainname
	r.rec.Config = &cfg
	return r.s.files(&owner), nil
}

// networkOwner is the container that made the network which rec joins: the one that it names may have joined another's.
func (s *Service) networkOwner(rec *Record) (Record, error) {
	owner, mode := *rec, rec.HostConfig.NetworkMode
	for seen := map[string]bool{}; mode.IsContainer(); mode = owner.HostConfig.NetworkMode {
		other, err := s.index.find(mode.ConnectedContainer())
		if err != nil {
			return owner, err
		}
		if seen[other.id()] {
			return owner, errdefs.Conflict("container %s: the containers join each other's network", rec.ID)
		}
		seen[other.id()] = true
		owner = other.record()
	}
	return owner, nil
}

// create makes the process and its network side by side, with the durable record's sync hidden behind them.
func (r *starting) create(ctx context.Context, streams []task.Stream) error {
	s, rec := r.s, &r.rec
	rootfs, err := s.cfg.Snapshots.Mounts(ctx, rec.ID)
	if err != nil {
		closeTaskStreams(streams)
		return fmt.Errorf("container %s: root file system: %w", rec.ID, err)
	}
	log, err := shimLog(rec, s.logPath(rec.ID))
	if err != nil {
		closeTaskStreams(streams)
		return err
	}
	r.at = time.Now().UTC()
	rec.HasStarted, rec.ShouldRun, rec.Error = true, true, ""
	rec.StartedAt, rec.ExitCode, rec.OOMKilled = r.at, 0, false
	rec.UpdatedAt = r.at
	var group errgroup.Group
	var made, attached bool
	group.Go(func() (err error) {
		r.pid, err = s.cfg.Tasks.Create(ctx, task.Create{
			Namespace: s.cfg.Namespace, ID: rec.ID, Runtime: s.runtime(rec), Spec: r.spec, Rootfs: rootfs, NetNS: r.netns,
			Terminal: rec.Config.Tty, OpenStdin: rec.Config.OpenStdin, Log: log, Streams: streams,
		})
		made = err == nil
		if err != nil {
			return startError(err)
		}
		return nil
	})
	group.Go(func() error {
		for _, e := range r.endpoints {
			if err := s.cfg.Network.Attach(ctx, e, r.netns); err != nil {
				return fmt.Errorf("failed to set up container networking: %w", err)
			}
		}
		if err := s.resolve(ctx, rec, r.netns); err != nil {
			return fmt.Errorf("failed to set up container networking: %w", err)
		}
		attached = true
		return nil
	})
	if !rec.HostConfig.AutoRemove {
		group.Go(func() error { return s.save(ctx, rec) })
	}
	err = group.Wait()
	if made {
		r.undo.Add(func(ctx context.Context) error { return s.cfg.Tasks.Delete(ctx, s.cfg.Namespace, rec.ID) })
	}
	if err != nil || !attached {
		return err
	}
	return s.putRun(ctx, rec.ID, running{Pid: r.pid, StartedAt: r.at, Endpoints: r.endpoints})
}

func (s *Service) runtime(rec *Record) string {
	if rec.HostConfig.Runtime == "" || rec.HostConfig.Runtime == builtinRuntime {
		return ""
	}
	return rec.HostConfig.Runtime
}

// commit makes the start visible.
func (r *starting) commit(ctx context.Context) {
	c, s := r.c, r.s
	c.mu.Lock()
	c.rec = r.rec // who changes it holds the operation lock
	c.state = types.StateRunning
	c.run = running{Pid: r.pid, StartedAt: r.at, Endpoints: r.endpoints}
	c.ended = make(chan struct{})
	s.watchHealth(c)
	rec, ended := c.rec, c.ended
	c.mu.Unlock()
	s.forwardLog(ctx, &rec, ended)
	s.relink(ctx, rec.ID)
	for _, e := range r.endpoints {
		s.networkEvent(events.ActionConnect, e.Network, rec.ID)
	}
	for _, m := range rec.Mounts {
		if m.Type == mount.TypeVolume {
			s.cfg.Events.Publish(events.VolumeEventType, events.ActionMount, m.Name, map[string]string{
				"container": rec.ID, "destination": m.Destination, "driver": m.Driver,
				"propagation": string(m.Propagation), "read/write": strconv.FormatBool(m.RW),
			})
		}
	}
	s.publish(&rec, events.ActionStart)
	logging.From(ctx).Info("container started", "op", "start", "pid", r.pid)
}

// saveRun records what a run is like now.
func (s *Service) saveRun(ctx context.Context, id string, run running) error {
	err := s.putRun(ctx, id, run)
	if c := s.index.get(id); err == nil && c != nil {
		rec := c.record()
		s.note(ctx, &rec)
	}
	return err
}

func (s *Service) putRun(ctx context.Context, id string, run running) error {
	return s.cfg.Volatile.Update(ctx, func(tx *metadata.Tx) error {
		return tx.Put(metadata.Containers, s.runningNamespace(), id, run)
	})
}

func (s *Service) forgetRun(ctx context.Context, id string) error {
	return errors.Join(s.dropNote(id), ignoreNotFound(s.cfg.Volatile.Update(ctx, func(tx *metadata.Tx) error {
		return ignoreNotFound(tx.Delete(metadata.Containers, s.runningNamespace(), id))
	})))
}
