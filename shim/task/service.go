// Package task is the shim's task service: containerd.task.v2.Task over ttrpc, for one container and its execs, or,
// under containerd, for all containers of a pod.
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
	"sync/atomic"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/shim/backend"
	"github.com/conex-containers/conex/shim/event"
	"github.com/conex-containers/conex/shim/reaper"
	"github.com/conex-containers/conex/shim/stdio"
)

// Config is what the shim is told on its command line.
type Config struct {
	Namespace string
	ID        string
	Bundle    string
	NetNS     bool // descriptor api/shim FDNetNS is the container's network namespace
	LogLevel  slog.Level
	// Containerd, when set, makes this the shim of a containerd: streams are paths, events are told, and there may be
	// several containers, of which ID was the first.
	Containerd *Containerd
}

// Containerd is what a shim of containerd knows of it.
type Containerd struct {
	Events string // path of its ttrpc socket, which takes events
	Socket string // path of this shim's socket, removed at the end
}

// service is the shim's state.
type service struct {
	cfg    Config
	log    *slog.Logger
	reaper *reaper.Reaper
	netns  *os.File // kept open, so that the namespace lives as long as the shim and can be found by /proc/<pid>/fd

	early     chan specRead // the spec, read ahead
	preloaded bool          // early has been used; Create calls do not overlap

	events *event.Publisher // nil: nobody is told

	mu         sync.Mutex
	containers map[string]*container // by id; nil: it is being made
	sandbox    *sandbox              // nil: none was made
	parked     []parkedStream
	arrived    *sync.Cond // signalled when parked grows
	settling   *time.Timer
	collecting sync.Once // turns the collector on
}

// container is a made container with its processes.
type container struct {
	backend.Container
	id       string
	bundle   string
	ownPids  bool // it has a pid namespace: the end of its first process is the end of all
	recorder *stdio.Recorder
	options  *options
	state    sync.Mutex  // serialises Start, Exec's start, Freeze and Delete
	telling  sync.Mutex  // held from a start to its event, so that the exit's comes later
	unwatch  func()      // ends the watch for want of memory
	doomed   atomic.Bool // a SIGKILL is on its way

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
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, errdefs.NotFound("container %s not found", id)
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
		Stdin: p.paths.Stdin, Stdout: p.paths.Stdout, Stderr: p.paths.Stderr,
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
	for id, p := range c.procs {
		if id != "" && p != nil {
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

// eventsBound is how long a shim that shuts down goes on trying to deliver its last events.
const eventsBound = 10 * time.Second

// Shutdown ends the shim when it has no container. With Now it ends at once: the closed connection is the answer.
// containerd calls it for each container of a pod, and wants no error while there are others.
func (s *service) Shutdown(_ context.Context, r *taskapi.ShutdownRequest) (*wire.Empty, error) {
	s.mu.Lock()
	busy := len(s.containers) > 0 || s.sandbox.isUp()
	s.mu.Unlock()
	switch {
	case busy && s.cfg.Containerd != nil:
		return &wire.Empty{}, nil
	case busy:
		return nil, errdefs.FailedPrecondition("the shim of %s has a container", s.cfg.ID)
	case r.Now && s.cfg.Containerd == nil:
		os.Exit(0)
	}
	if s.cfg.Containerd != nil {
		_ = os.Remove(s.cfg.Containerd.Socket) // before the answer: the next shim of this name makes its own
	}
	time.AfterFunc(exitDelay, func() {
		s.events.Close(eventsBound)
		os.Exit(0)
	})
	return &wire.Empty{}, nil
}
