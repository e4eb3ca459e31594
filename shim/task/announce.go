package task

import (
	"context"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/shim/reaper"
	"github.com/conex-containers/conex/shim/stdio"
)

// openStreams opens a process's streams: as paths under containerd, else for the clients of the stream socket.
func (s *service) openStreams(ctx context.Context, id string, terminal bool, paths stdio.Paths, o *options, recorder *stdio.Recorder) (*stdio.IO, error) {
	if s.cfg.Containerd == nil {
		return stdio.New(ctx, stdio.Config{Terminal: terminal, OpenStdin: paths.Stdin != "", Recorder: recorder})
	}
	paths.Namespace, paths.ID, paths.UID, paths.GID = s.cfg.Namespace, id, o.uid, o.gid
	return stdio.New(ctx, stdio.Config{Terminal: terminal, Paths: &paths})
}

// announceCreate tells of a made container, and from now on of its want of memory; one that is to be restored has no
// group yet.
func (s *service) announceCreate(c *container, r *taskapi.CreateTaskRequest) {
	if s.events == nil {
		return
	}
	s.events.Publish(&taskapi.TaskCreate{
		ContainerID: c.id, Bundle: r.Bundle, Rootfs: r.Rootfs, Checkpoint: r.Checkpoint, Pid: uint32(c.Pid()),
		IO: &taskapi.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	})
	s.watchMemory(c)
}

// watchMemory tells of a container's want of memory until it is deleted.
func (s *service) watchMemory(c *container) {
	group := c.Cgroup()
	if group == nil || s.events == nil {
		return
	}
	ctx, unwatch := context.WithCancel(context.Background())
	c.unwatch = unwatch
	shortages, err := group.WatchOOM(ctx)
	if err != nil {
		s.log.Warn("want of memory is not told", "op", "create", "err", err)
		return
	}
	if shortages == nil {
		return
	}
	go func() {
		for range shortages {
			s.events.Publish(&taskapi.TaskOOM{ContainerID: c.id})
		}
	}()
}

// execsBound is how long the exit of a container's own process waits to be told until those of its execs are.
const execsBound = 5 * time.Second

// announceExit tells of the end of a process: after its start, and that of the container's own process after all
// others.
func (s *service) announceExit(c *container, p *process, e reaper.Exit) {
	if s.events == nil {
		return
	}
	id := p.execID
	if id == "" {
		id = c.id
		c.awaitExecs(execsBound)
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	pid, _, _ := p.look()
	s.events.Publish(&taskapi.TaskExit{
		ContainerID: c.id, ID: id, Pid: uint32(pid), ExitStatus: uint32(e.Code), ExitedAt: wire.At(e.At),
	})
}

// awaitExecs waits until the execs that run have ended.
func (c *container) awaitExecs(bound time.Duration) {
	late := time.After(bound)
	c.mu.Lock()
	var running []*process
	for id, p := range c.procs {
		if id == "" || p == nil {
			continue
		}
		if _, started, _ := p.look(); started {
			running = append(running, p)
		}
	}
	c.mu.Unlock()
	for _, p := range running {
		select {
		case <-p.ended:
		case <-late:
			return
		}
	}
}
