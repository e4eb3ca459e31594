package task

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
)

// filtersDir, below the exec root, is where the shims keep compiled seccomp profiles for each other (linux/seccomp.Cache).
const filtersDir = "filters"

// Create makes a task: bundle, shim, and the process, which waits for Start. It returns the process's pid. On an
// error nothing is left of it.
//
//	daemon                                     conex-shim
//	mkdir bundle, write config.json
//	bind and listen on sockets
//	exec ------------------------------------> start up, read config.json
//	connect (backlog), send Headers, Create -> accept, make the container
//	Wait (stays open) <----------------------- pid, cgroup
func (s *Service) Create(ctx context.Context, c Create) (pid int, err error) {
	defer closeStreams(c.Streams)
	rt, err := s.runtime(c.Runtime)
	if err != nil {
		return 0, err
	}
	if c.Spec == nil || c.Spec.Process == nil {
		return 0, errdefs.InvalidArgument("task %s: the spec has no process", c.ID)
	}
	t, err := s.reserve(c.Namespace, c.ID)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			s.forget(t)
			err = fmt.Errorf("task %s: create: %w", c.ID, err)
		}
	}()
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)

	spec := s.finishSpec(c)
	if err := makeBundle(t.dir); err != nil {
		return 0, err
	}
	undo.Add(func(ctx context.Context) error { return s.sweep(ctx, t.key, spec) })
	if err := writeConfig(t.dir, spec); err != nil {
		return 0, err
	}
	if t.shim, err = s.launch(t, c.NetNS); err != nil {
		return 0, err
	}
	undo.Add(t.dismiss)
	if err := t.connect(); err != nil {
		return 0, t.diagnose(err)
	}
	handed, err := t.handOverAll(c.Streams)
	if err != nil {
		return 0, t.diagnose(err)
	}
	p, err := t.create(ctx, c, rt)
	_ = closeConn(handed)
	if err != nil {
		return 0, t.diagnose(err)
	}
	undo.Release()
	t.add(p)
	return p.pid, nil
}

// create sends the Create call and records what the shim says of the container.
func (t *task) create(ctx context.Context, c Create, rt Runtime) (*process, error) {
	options := wire.Marshal(&shim.CreateOptions{
		Root:        t.service.runtimeRoot(t.ns),
		Runtime:     rt.Path,
		RuntimeArgs: rt.Args,
		Log:         &c.Log,
		Streams:     uint32(len(c.Streams)),
		Filters:     filepath.Join(t.service.cfg.ExecRoot, filtersDir),
	})
	req := &taskapi.CreateTaskRequest{
		ID:       c.ID,
		Bundle:   t.dir,
		Terminal: c.Terminal,
		Options:  &wire.Any{TypeURL: shim.TypeCreateOptions, Value: options},
	}
	if c.OpenStdin {
		req.Stdin = shim.StdinOpen
	}
	for _, m := range c.Rootfs {
		req.Rootfs = append(req.Rootfs, &taskapi.Mount{Type: m.Type, Source: m.Source, Options: m.Options})
	}
	p := newProcess(t, "", c.Terminal)
	return p, call(ctx, slowCall, func(ctx context.Context) error {
		resp, err := t.rpc.Create(ctx, req)
		if err != nil {
			return err
		}
		p.pid, t.cgroup = int(resp.Pid), resp.Extra.OrNone().Cgroup
		return nil
	})
}

// finishSpec returns the caller's spec with what every task of this service has: a cgroup that can be found from the
// bundle alone, and the terminal flag of the request.
func (s *Service) finishSpec(c Create) *specs.Spec {
	spec := *c.Spec
	process := *spec.Process
	process.Terminal = c.Terminal
	spec.Process = &process
	linux := specs.Linux{}
	if spec.Linux != nil {
		linux = *spec.Linux
	}
	if linux.CgroupsPath == "" {
		linux.CgroupsPath = filepath.Join("/", s.cfg.CgroupParent, c.ID)
	}
	spec.Linux = &linux
	spec.Annotations = maps.Clone(spec.Annotations)
	return &spec
}

// Start runs the task's process. An execve(2) that fails comes back here, with its errno in the chain.
func (s *Service) Start(ctx context.Context, ns, id string) error {
	t, err := s.find(ns, id)
	if err != nil {
		return err
	}
	p, err := t.process("")
	if err != nil {
		return err
	}
	if err := t.start(ctx, p); err != nil {
		return fmt.Errorf("task %s: start: %w", id, err)
	}
	return nil
}

// start sends the Start call of a process. Its outcome decides whether an exit is told, so it runs to its end
// whatever becomes of the caller.
func (t *task) start(ctx context.Context, p *process) error {
	if err := p.beginStart(); err != nil {
		return err
	}
	err := call(context.WithoutCancel(ctx), slowCall, func(ctx context.Context) error {
		resp, err := t.rpc.Start(ctx, &taskapi.ProcessRequest{ID: t.id, ExecID: p.execID})
		if err == nil && p.execID != "" {
			p.pid = int(resp.Pid)
		}
		return err
	})
	p.endStart(err == nil)
	return err
}

func closeConn(conn *net.UnixConn) error {
	if conn == nil {
		return nil
	}
	return conn.Close()
}
