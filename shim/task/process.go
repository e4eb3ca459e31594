package task

import (
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/shim/reaper"
	"github.com/conex-containers/conex/shim/stdio"
)

// drainGrace is how long the end of a process waits for streams that something else holds open, a background child
// for instance, or that a client does not read: containerd's and Docker's two seconds.
const drainGrace = 2 * time.Second

// process is the container's own process or an exec.
type process struct {
	execID   string
	terminal bool
	io       *stdio.IO
	paths    stdio.Paths    // under containerd
	spec     *specs.Process // of an exec
	ended    chan struct{}  // closed when exit is set and the streams are closed

	mu      sync.Mutex
	pid     int
	pidfd   int // of an exec; -1: none
	started bool
	oomBase uint64 // kills in the cgroup before it started
	exit    *exit
}

type exit struct {
	reaper.Exit
	oomKilled bool
}

func newProcess(execID string, terminal bool, io *stdio.IO) *process {
	return &process{execID: execID, terminal: terminal, io: io, ended: make(chan struct{}), pidfd: -1}
}

// look returns the pid, whether the process was started, and its exit (nil while it lives).
func (p *process) look() (pid int, started bool, e *exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid, p.started, p.exit
}

func (p *process) setStarted() {
	p.mu.Lock()
	p.started = true
	p.mu.Unlock()
}

// signal sends a signal to an exec by its descriptor.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit != nil || p.pid == 0 {
		return errdefs.NotFound("exec %s is not running", p.execID)
	}
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	if err == unix.ESRCH {
		return errdefs.NotFound("exec %s has ended", p.execID)
	}
	return err
}

// finish is called when the process has been reaped. The order is a promise: first all output is out, then State
// tells the exit, then the clients' connections end, then Wait answers. So whoever asks for the exit code because a
// connection has ended gets it.
func (s *service) finish(c *container, p *process, e reaper.Exit) {
	if p.execID == "" && !c.ownPids {
		// Nothing else ends the other processes of the container.
		if group := c.Cgroup(); group != nil {
			if err := group.Kill(); err != nil && !errdefs.Is(err, errdefs.ErrUnavailable) {
				s.log.Error("kill what is left of the container", "op", "exit", "err", err)
			}
		}
	}
	drained := p.io.Drain(drainGrace)
	if p.execID == "" {
		if err := c.recorder.Close(); err != nil {
			s.log.Error("close the log", "op", "exit", "err", err)
		}
	}
	result := &exit{Exit: e, oomKilled: c.oomKills() > p.oomBase}
	s.announceExit(c, p, e)
	p.mu.Lock()
	p.exit = result
	if p.pidfd >= 0 {
		_ = unix.Close(p.pidfd)
		p.pidfd = -1
	}
	p.mu.Unlock()
	if drained {
		p.io.Close()
	}
	close(p.ended)
}

// oomKills is the cgroup's count of processes that the kernel killed for want of memory.
func (c *container) oomKills() uint64 {
	group := c.Cgroup()
	if group == nil {
		return 0
	}
	n, err := group.OOMKills()
	if err != nil {
		return 0 // no memory controller
	}
	return n
}
