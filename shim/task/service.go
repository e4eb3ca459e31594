// Package task is the shim's task service: containerd.task.v2.Task over ttrpc, for one container and its execs.
//
//	Create -> created -> Start -> running <-> paused -> (exit) -> stopped -> Delete -> Shutdown
//
// Whoever connects drives it; nobody has to stay connected. Output is recorded and the exit status is kept until
// Delete, also while the daemon is away.
package task

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/shim/backend"
	"github.com/conex-containers/conex/shim/reaper"
	"github.com/conex-containers/conex/shim/stdio"
)

// Config is what the shim is told on its command line.
type Config struct {
	Namespace string
	ID        string
	Bundle    string
	NetNS     bool // descriptor api/shim FDNetNS is the container's network namespace
}

// service is the shim's state. One container per shim; a pod's shim has several of them.
type service struct {
	cfg    Config
	log    *slog.Logger
	reaper *reaper.Reaper
	netns  *os.File // kept open, so that the namespace lives as long as the shim and can be found by /proc/<pid>/fd

	early     chan specRead // the spec, read ahead
	preloaded bool          // early has been used; Create calls do not overlap

	mu        sync.Mutex
	container *container
	making    bool
	parked    []parkedStream
	arrived   *sync.Cond // signalled when parked grows
	settling  *time.Timer
}

// container is a made container with its processes.
type container struct {
	backend.Container
	bundle   string
	ownPids  bool // it has a pid namespace: the end of its first process is the end of all
	recorder *stdio.Recorder
	state    sync.Mutex // serialises Start, Exec's start, Freeze and Delete

	mu     sync.Mutex
	paused bool
	procs  map[string]*process // "": the container's own
}

func (c *container) process(execID string) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.procs[execID]; p != nil {
		return p, nil
	}
	return nil, errdefs.NotFound("exec %s not found", execID)
}

// find returns the container of a request.
func (s *service) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.container == nil || id != s.cfg.ID {
		return nil, errdefs.NotFound("container %s not found", id)
	}
	return s.container, nil
}

// lookup returns the process of a request with its container.
func (s *service) lookup(id, execID string) (*container, *process, error) {
	c, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}
	p, err := c.process(execID)
	return c, p, err
}

// State answers what is known of a process.
func (s *service) State(_ context.Context, r *taskapi.ProcessRequest) (*taskapi.StateResponse, error) {
	c, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	pid, started, exit := p.look()
	resp := &taskapi.StateResponse{
		ID: r.ID, ExecID: r.ExecID, Bundle: c.bundle, Pid: uint32(pid), Terminal: p.terminal,
		Status: taskapi.StatusCreated,
	}
	c.mu.Lock()
	paused := c.paused
	c.mu.Unlock()
	switch {
	case exit != nil:
		resp.Status = taskapi.StatusStopped
		resp.ExitStatus, resp.ExitedAt = uint32(exit.Code), wire.At(exit.At)
	case paused:
		resp.Status = taskapi.StatusPaused
	case started:
		resp.Status = taskapi.StatusRunning
	}
	resp.Extra = &taskapi.Extra{Started: started, OOMKilled: exit != nil && exit.oomKilled}
	return resp, nil
}

// Wait answers when the process has ended and all of its output is with the log and the clients.
func (s *service) Wait(ctx context.Context, r *taskapi.ProcessRequest) (*taskapi.WaitResponse, error) {
	_, p, err := s.lookup(r.ID, r.ExecID)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	_, started, exit := p.look()
	return &taskapi.WaitResponse{
		ExitStatus: uint32(exit.Code), ExitedAt: wire.At(exit.At),
		Extra: &taskapi.Extra{Started: started, OOMKilled: exit.oomKilled},
	}, nil
}

// Connect tells the shim's and the container's pid, and what there is to adopt.
func (s *service) Connect(_ context.Context, r *taskapi.ContainerRequest) (*taskapi.ConnectResponse, error) {
	resp := &taskapi.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: "conex"}
	c, err := s.find(r.ID)
	if errdefs.IsNotFound(err) {
		return resp, nil // a shim that was never told to create
	}
	if err != nil {
		return nil, err
	}
	resp.TaskPid = uint32(c.Pid())
	resp.Extra = &taskapi.Extra{HasTask: true, Cgroup: c.cgroupPaths()}
	c.mu.Lock()
	for id := range c.procs {
		if id != "" {
			resp.Extra.Execs = append(resp.Extra.Execs, id)
		}
	}
	c.mu.Unlock()
	return resp, nil
}

func (c *container) cgroupPaths() map[string]string {
	if group := c.Cgroup(); group != nil {
		return group.Paths()
	}
	return nil
}

// exitDelay is how long a shim that shuts down gives its answer to reach the caller.
const exitDelay = 50 * time.Millisecond

// Shutdown ends the shim when it has no container. With Now it ends at once: the closed connection is the answer.
func (s *service) Shutdown(_ context.Context, r *taskapi.ShutdownRequest) (*wire.Empty, error) {
	s.mu.Lock()
	busy := s.container != nil || s.making
	s.mu.Unlock()
	if busy {
		return nil, errdefs.FailedPrecondition("the shim of %s has a container", s.cfg.ID)
	}
	if r.Now {
		os.Exit(0)
	}
	time.AfterFunc(exitDelay, func() { os.Exit(0) })
	return &wire.Empty{}, nil
}
