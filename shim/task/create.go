package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/prelude"
	"github.com/conex-containers/conex/runtime/spec"
	"github.com/conex-containers/conex/shim/backend"
	"github.com/conex-containers/conex/shim/reaper"
	"github.com/conex-containers/conex/shim/stdio"
)

// Create makes the container; its process waits for Start.
func (s *service) Create(ctx context.Context, r *taskapi.CreateTaskRequest) (_ *taskapi.CreateTaskResponse, err error) {
	prelude.Room()
	if err := s.beginCreate(r); err != nil {
		return nil, err
	}
	var c *container
	defer func() { s.endCreate(r.ID, c) }()
	options, err := s.options(r)
	if err != nil {
		return nil, err
	}
	spec, err := s.spec(r.Bundle)
	if err != nil {
		return nil, err
	}
	made, err := s.make(ctx, r, options, spec)
	if err != nil {
		return nil, err
	}
	c = made
	s.announceCreate(c, r)
	return &taskapi.CreateTaskResponse{Pid: uint32(c.Pid()), Extra: &taskapi.Extra{Cgroup: c.cgroupPaths()}}, nil
}

func (s *service) beginCreate(r *taskapi.CreateTaskRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ID != s.cfg.ID && s.cfg.Containerd == nil {
		return errdefs.InvalidArgument("this is the shim of %s, not of %s", s.cfg.ID, r.ID)
	}
	if _, ok := s.containers[r.ID]; ok {
		return errdefs.AlreadyExists("container %s exists already", r.ID)
	}
	if _, err := ids.Parse(r.ID); err != nil {
		return err
	}
	s.containers[r.ID] = nil
	return nil
}

// endCreate makes a container known (nil: it failed; clients that wait for it are let go).
func (s *service) endCreate(id string, c *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[id] = c; c == nil {
		delete(s.containers, id)
	}
	for _, late := range s.parked {
		if c == nil {
			_ = late.conn.Close()
		} else if err := c.procs[""].io.Attach(late.conn, late.header); err != nil {
			s.log.Warn("attach", "op", "create", "err", err)
		}
	}
	s.parked = nil
}

// specRead is the outcome of reading a bundle's spec.
type specRead struct {
	spec *specs.Spec
	err  error
}

// preload reads the bundle's spec while the manager's Create call is still on its way.
func (s *service) preload() {
	s.early = make(chan specRead, 1)
	go func() {
		prelude.Room()
		spec, err := readSpec(s.cfg.Bundle)
		s.early <- specRead{spec, err}
	}()
}

// spec returns the bundle's spec: what preload has read, unless that went wrong, because a manager may write the
// file after it has started the shim.
func (s *service) spec(bundle string) (*specs.Spec, error) {
	s.mu.Lock()
	early := bundle == s.cfg.Bundle && !s.preloaded
	s.preloaded = s.preloaded || early // it serves one Create
	s.mu.Unlock()
	if early {
		if read := <-s.early; read.err == nil {
			return read.spec, nil
		}
	}
	return readSpec(bundle)
}

func readSpec(bundle string) (*specs.Spec, error) {
	data, err := os.ReadFile(filepath.Join(bundle, shim.ConfigName))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	config, err := spec.Decode(data)
	if err != nil {
		return nil, errdefs.InvalidArgument("%s: %w", shim.ConfigName, err)
	}
	if config.Process == nil || config.Linux == nil {
		return nil, errdefs.InvalidArgument("%s: process and linux are needed", shim.ConfigName)
	}
	return config, nil
}

// make opens the streams, attaches the clients that wait, and has the backend make the container.
func (s *service) make(ctx context.Context, r *taskapi.CreateTaskRequest, o *options, spec *specs.Spec) (_ *container, err error) {
	caller := ctx
	ctx = context.WithoutCancel(ctx) // a caller that is gone leaves no half of it
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	recorder, err := stdio.OpenRecorder(o.Log, func(err error) {
		s.log.Error("write the container's log", "op", "log", "err", err)
	})
	if err != nil {
		return nil, err
	}
	undo.Add(func(context.Context) error { return recorder.Close() })
	streams := stdio.Paths{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}
	io, err := s.openStreams(caller, r.ID, r.Terminal, streams, o, recorder)
	if err != nil {
		return nil, err
	}
	undo.Add(func(context.Context) error { io.Close(); return nil })

	release := s.reaper.Hold()
	defer release()
	made, err := makeBy(ctx, runtimeOf(o), r, backend.Config{
		ID: r.ID, Root: o.Root, Filters: o.Filters, Bundle: r.Bundle, Spec: spec, Rootfs: mounts(r), NetNS: s.netns,
		Stdio: io.Files(), Terminal: terminalOf(io, spec.Process),
		SystemdCgroup: o.systemdCgroup, NoPivot: o.noPivot, NoNewKeyring: o.noNewKeyring,
	})
	if err != nil {
		return nil, err
	}
	p := newProcess("", r.Terminal, io)
	p.pid, p.paths = made.Pid(), streams
	c := &container{
		id: r.ID, options: o, unwatch: func() {},
		Container: made, bundle: r.Bundle, ownPids: hasNamespace(spec, specs.PIDNamespace),
		recorder: recorder, procs: map[string]*process{"": p},
	}
	undo.Release()
	if p.pid != 0 {
		s.begin(c, p)
	}
	s.takeParked(ctx, io, int(o.Streams))
	return c, nil
}

// makeBy makes a container, or with a checkpoint one that its start makes.
func makeBy(ctx context.Context, rt backend.Runtime, r *taskapi.CreateTaskRequest, c backend.Config) (backend.Container, error) {
	if r.Checkpoint == "" {
		return rt.Create(ctx, c)
	}
	from := backend.Checkpoint{Image: r.Checkpoint, Parent: r.ParentCheckpoint, Terminal: c.Terminal != nil}
	return backend.Latent(func(ctx context.Context) (backend.Container, error) { return rt.Restore(ctx, c, from) }), nil
}

// begin carries the streams of a container's own process, and waits for its end. The reaper is held since before the
// process was made.
func (s *service) begin(c *container, p *process) {
	p.io.Start() // before anybody can hear of the end, which waits for what Start has begun
	s.reaper.Watch(p.pid, func(e reaper.Exit) { s.finish(c, p, e) })
}

func runtimeOf(o *options) backend.Runtime {
	if o.Runtime == "" {
		return backend.InProcess{}
	}
	return backend.Foreign{Path: o.Runtime, Args: o.RuntimeArgs}
}

// terminalOf returns what takes the master of a process's terminal, nil when it has none. The size is set before
// the process can ask for it.
func terminalOf(io *stdio.IO, p *specs.Process) func(*os.File) error {
	if !p.Terminal {
		return nil
	}
	return func(master *os.File) error {
		if err := io.SetTerminal(master); err != nil {
			return err
		}
		if size := p.ConsoleSize; size != nil && size.Width > 0 && size.Height > 0 {
			return io.Resize(uint16(size.Width), uint16(size.Height))
		}
		return nil
	}
}

func mounts(r *taskapi.CreateTaskRequest) []mount.Mount {
	var list []mount.Mount
	for _, m := range r.Rootfs {
		list = append(list, mount.Mount{Type: m.Type, Source: m.Source, Options: m.Options})
	}
	return list
}

func hasNamespace(spec *specs.Spec, kind specs.LinuxNamespaceType) bool {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == kind {
			return ns.Path == "" // a joined one has its own first process
		}
	}
	return false
}

// Start runs the container's process, or an exec.
func (s *service) Start(ctx context.Context, r *taskapi.ProcessRequest) (*taskapi.StartResponse, error) {
	c, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	c.state.Lock()
	defer c.state.Unlock()
	pid, started, exit := p.look()
	switch {
	case exit != nil:
		return nil, errdefs.FailedPrecondition("the process has ended with code %d", exit.Code)
	case started:
		return nil, errdefs.FailedPrecondition("the process is started already")
	}
	defer s.reaper.Hold()() // also for hooks: os/exec waits for them
	c.telling.Lock()
	defer c.telling.Unlock()
	ctx = context.WithoutCancel(ctx)
	if r.ExecID != "" {
		return s.startExec(ctx, c, p)
	}
	if err := p.io.OpenStdin(); err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	if pid == 0 { // restored
		pid = c.Pid()
		p.mu.Lock()
		p.pid = pid
		p.mu.Unlock()
		s.begin(c, p)
		s.watchMemory(c)
	}
	p.setStarted()
	s.settle(settleAfterStart)
	s.events.Publish(&taskapi.TaskStart{ContainerID: c.id, Pid: uint32(pid)})
	return &taskapi.StartResponse{Pid: uint32(pid)}, nil
}

// Delete removes an exec that has ended, or the container.
func (s *service) Delete(ctx context.Context, r *taskapi.ProcessRequest) (*taskapi.DeleteResponse, error) {
	c, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	c.state.Lock()
	defer c.state.Unlock()
	pid, _, exit := p.look()
	if exit == nil && pid != 0 {
		return nil, errdefs.FailedPrecondition("the process %d is running", pid)
	}
	if exit != nil {
		<-p.ended
		p.io.Drain(drainGrace) // what a FIFO's reader has not taken yet
		p.io.Close()
	}
	if r.ExecID == "" {
		defer s.reaper.Hold()()
		if err := c.Delete(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
		if pid == 0 {
			p.io.Leave() // never restored
		}
		c.unwatch()
		s.mu.Lock()
		delete(s.containers, c.id)
		s.mu.Unlock()
	} else {
		if pid == 0 {
			p.io.Leave() // never started
		}
		c.mu.Lock()
		delete(c.procs, r.ExecID)
		c.mu.Unlock()
	}
	resp := &taskapi.DeleteResponse{Pid: uint32(pid)}
	if exit != nil {
		resp.ExitStatus, resp.ExitedAt = uint32(exit.Code), wire.At(exit.At)
	}
	if r.ExecID == "" {
		s.events.Publish(&taskapi.TaskDelete{
			ContainerID: c.id, Pid: resp.Pid, ExitStatus: resp.ExitStatus, ExitedAt: resp.ExitedAt,
		})
	}
	return resp, nil
}
