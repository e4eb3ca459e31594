package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/landlock"
	"github.com/conex-containers/conex/linux/lsm"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/linux/pty"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/linux/seccomp"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
)

// Process is a process that Exec started. The caller is its parent and reaps it.
type Process struct {
	pid   int
	pidfd int
}

// Pid is the process's number on the host.
func (p *Process) Pid() int { return p.pid }

// Pidfd is a descriptor of the process, good until Close.
func (p *Process) Pidfd() int { return p.pidfd }

// Close closes the pidfd; the process lives on.
func (p *Process) Close() error {
	if p.pidfd < 0 {
		return nil
	}
	err := unix.Close(p.pidfd)
	p.pidfd = -1
	return err
}

// execution is one Exec in the making.
type execution struct {
	c        *Container
	o        ExecOptions
	sets     child.Sets
	filt     *seccomp.Program
	pair     *pty.Pair
	proc     mount.Tree
	home     string
	files    *placed
	label    []lsm.Label
	root     int // of a container without a mount namespace of its own, or -1
	policy   *landlock.Policy
	ruleset  int    // of policy, or -1
	program  string // of a hook: what is executed, whatever its first argument is
	inherits bool   // the environment is the container's, $HOME included
}

func newExecution(c *Container, o ExecOptions, s child.Sets) *execution {
	return &execution{c: c, o: o, sets: s, proc: -1, root: -1, ruleset: -1}
}

// Exec starts one more process in the container; when it returns, the program runs. Errors: FailedPrecondition when
// the container is not running (or paused, unless IgnorePaused); of the program as for Create.
func (c *Container) Exec(ctx context.Context, o ExecOptions) (*Process, error) {
	p, err := c.exec(ctx, o)
	if err != nil && errdefs.Of(err) == errdefs.ErrInternal && (c.ending() || errors.Is(err, unix.EPIPE)) {
		err = errdefs.FailedPrecondition("cannot exec in a stopped container: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("container %s: exec %s: %w", c.ID(), o.ID, err)
	}
	return p, nil
}

// ending tells whether the first process is past the point in its exit where it lets go of its root: joining its
// namespaces then fails in many ways. A process that was made before is killed, and the handshake with it breaks (EPIPE).
func (c *Container) ending() bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/root", c.rec.Pid))
	return err != nil || !c.alive()
}

func (c *Container) exec(ctx context.Context, o ExecOptions) (*Process, error) {
	if o.Process == nil || len(o.Process.Args) == 0 {
		return nil, errdefs.InvalidArgument("process.args must not be empty")
	}
	st, err := c.status()
	if err != nil {
		return nil, err
	}
	if st == specs.StateStopped {
		return nil, errdefs.FailedPrecondition("cannot exec in a stopped container")
	}
	if st == StatusPaused && !o.IgnorePaused {
		return nil, errdefs.FailedPrecondition("cannot exec in a paused container (use --ignore-paused to override)")
	}
	e := newExecution(c, o, sets(ctx, o.Process.Capabilities, c.rec.Namespaces&unix.CLONE_NEWUSER != 0))
	if e.filt, err = c.loadedFilter(); err != nil {
		return nil, err
	}
	if e.policy, err = c.loadedLandlock(); err != nil {
		return nil, err
	}
	return e.run(ctx)
}

// loadedFilter is the container's seccomp filter for one more process.
func (c *Container) loadedFilter() (*seccomp.Program, error) {
	if !c.rec.Filter {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filter == nil {
		f, err := loadFilter(c.dir, c.rec.FilterFlags)
		if err != nil {
			return nil, err
		}
		c.filter = f
	}
	return c.filter, nil
}

func (e *execution) run(ctx context.Context) (_ *Process, err error) {
	defer e.close()
	if err := e.look(ctx); err != nil {
		return nil, err
	}
	host, inside, err := handshake.Pair()
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(host) }()
	prog, p, err := e.spawn(ctx, inside)
	_ = unix.Close(inside)
	if err != nil {
		return nil, err
	}
	log := logging.From(ctx)
	log.Debug("exec: process cloned", "container", e.c.ID(), "pid", p.pid)
	if e.o.Process.ExecCPUAffinity == nil {
		freeProcessors(p.pid)
	}
	stop := context.AfterFunc(ctx, func() { _ = pidfd.Signal(p.pidfd, unix.SIGKILL) })
	err = e.handshake(host, prog, p)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		e.report(log, p.pid)
		err = e.handOver(p)
	}
	if err != nil {
		_ = pidfd.Signal(p.pidfd, unix.SIGKILL)
		reap(p.pidfd)
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

func (e *execution) close() {
	if e.files != nil {
		e.files.close()
	}
	if e.pair != nil {
		if e.pair.Master != nil {
			_ = e.pair.Master.Close()
		}
		_ = e.pair.Slave.Close()
	}
	e.proc.Close()
	mount.Tree(e.ruleset).Close()
	if e.root >= 0 {
		_ = unix.Close(e.root)
	}
}

// named is the process with the name that its program is looked for by.
func (e *execution) named() *specs.Process {
	if e.program == "" {
		return e.o.Process
	}
	p := *e.o.Process
	p.Args = []string{e.program}
	return &p
}

// look finds out what the container's root says: the program, $HOME, a terminal. The root is that of the first
// process, reached once, by a descriptor.
func (e *execution) look(ctx context.Context) (err error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root", e.c.rec.Pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !e.c.alive() {
		return errdefs.FailedPrecondition("cannot exec in a stopped container") // the number may be another's by now
	}
	if e.c.rec.Namespaces&unix.CLONE_NEWNS == 0 {
		if e.root, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return fmt.Errorf("the container's root: %w", err)
		}
	}
	root := safepath.At(fd)
	p := e.o.Process
	if err := findProgram(root, e.named()); err != nil {
		return fmt.Errorf("unable to start container process: %w", err)
	}
	e.home = home(root, p.User.UID)
	if e.label, err = lsm.ForExec(p.ApparmorProfile, p.SelinuxLabel); err != nil {
		return err
	}
	if len(e.label) > 0 {
		if e.proc, err = mount.PrivateProc(); err != nil {
			return err
		}
	}
	if e.policy != nil {
		if e.ruleset, err = restriction(ctx, e.policy, root); err != nil {
			return err
		}
	}
	if e.files, err = placeFiles(e.o.Stdio, e.o.ExtraFiles, p.Terminal); err != nil {
		return err
	}
	if p.Terminal {
		return e.terminal(root)
	}
	if e.c.rec.Namespaces&unix.CLONE_NEWUSER == 0 {
		giveStreams(e.files.stdio, int(p.User.UID), e.c.manner.streamGroup(int(p.User.GID)))
	}
	return nil
}

func (e *execution) terminal(root safepath.Root) error {
	pts, err := root.OpenPlain("/dev/pts", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	defer func() { _ = unix.Close(pts) }()
	if e.pair, err = pty.Open(pts); err != nil {
		return err
	}
	if s := e.o.Process.ConsoleSize; s != nil {
		if err := pty.Resize(e.pair.Master, uint16(s.Width), uint16(s.Height)); err != nil {
			return fmt.Errorf("terminal: resize: %w", err)
		}
	}
	if e.c.rec.Namespaces&unix.CLONE_NEWUSER == 0 {
		return unix.Fchown(rawFD(e.pair.Slave), int(e.o.Process.User.UID), -1)
	}
	return nil
}

// spawn clones the process. It joins the cgroups first, as a process of the host, and then enters all namespaces of
// the first process by its pidfd in one call; only the pid namespace is a matter of who clones.
func (e *execution) spawn(ctx context.Context, inside int) (*child.Program, *Process, error) {
	join, tasks, err := e.join()
	if err != nil {
		return nil, nil, err
	}
	defer closeAll(append(tasks, join))
	p := e.o.Process
	lim, err := limits(ctx, p, e.c.rec.Namespaces&unix.CLONE_NEWUSER != 0)
	if err != nil {
		return nil, nil, err
	}
	target := e.c.Pidfd()
	tty := -1
	if e.pair != nil {
		tty = rawFD(e.pair.Slave)
	}
	all := e.c.rec.Namespaces
	enter, err := e.c.foreign()
	if err != nil {
		return nil, nil, err
	}
	prog, err := child.Build(&child.Config{
		Sync: inside, Tasks: tasks, StateDir: -1, TTY: tty, Back: -1, Root: e.root, Stdio: e.files.stdio, Extra: e.files.extra,
		Joins:    []child.Join{{FD: target, Flags: enter &^ unix.CLONE_NEWPID, Name: "of the container"}},
		NoGroups: all&unix.CLONE_NEWUSER != 0 && idmap.NoGroups(strconv.Itoa(e.c.rec.Pid)),
		Keyring:  e.c.keyring(),
		Labels:   e.label, Process: p, Linux: e.c.rec.Inherited, Program: e.program, Home: e.program == "" || e.inherits, Limits: lim, Sets: e.sets, Seccomp: e.filt, Landlock: e.policy != nil,
	})
	if err != nil {
		return nil, nil, err
	}
	out := &Process{pidfd: -1}
	clone := func() (err error) {
		out.pid, out.pidfd, err = child.Clone(prog, 0, join)
		return e.instead(prog, out, err)
	}
	if all&unix.CLONE_NEWPID == 0 {
		return prog, out, clone()
	}
	return prog, out, namespace.Throwaway(func() error {
		if err := enterPids(target); err != nil {
			return err
		}
		return clone()
	})
}

// handshake lets the process go and waits until it has executed its program.
func (e *execution) handshake(host int, prog *child.Program, p *Process) error {
	var rights []int
	if e.proc >= 0 {
		rights = append(rights, int(e.proc))
	}
	if e.policy != nil {
		rights = append(rights, e.ruleset)
	}
	if err := e.c.joinResctrl(p.pid); err != nil {
		return err
	}
	if err := handshake.Go(host, e.home, rights...); err != nil {
		return err
	}
	m, err := readMessage(host, prog)
	if err == nil && m.Kind == handshake.Listener {
		if err = e.c.sendListener(p.pid, p.pidfd, int(m.Value), specs.StateRunning); err != nil {
			return err
		}
		if err = handshake.Go(host, ""); err != nil {
			return err
		}
		_, err = readMessage(host, prog)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		return errdefs.FailedPrecondition("handshake: a message instead of the end")
	}
	return err
}

// report tells the debug log what the process has done by itself until it executed its program.
func (e *execution) report(log *slog.Logger, pid int) {
	if a := e.o.Process.ExecCPUAffinity; a != nil && a.Initial != "" {
		log.Debug("exec: the process has had its first processors", "container", e.c.ID(), "pid", pid, "affinity", child.Mask(a.Initial))
	}
	log.Debug("exec: process joined", "container", e.c.ID(), "pid", pid)
}

func (e *execution) handOver(p *Process) error {
	if e.pair != nil {
		if e.o.Terminal == nil {
			return errdefs.InvalidArgument("a terminal needs somebody who takes it")
		}
		master := e.pair.Master
		e.pair.Master = nil
		if err := e.o.Terminal(master); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	return writePid(e.o.PidFile, p.pid)
}
