package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
)

// keyring is the name of the container's session keyring, as runc names it.
func (c *Container) keyring() string {
	if c.rec.NoNewKeyring {
		return ""
	}
	return "_ses." + c.rec.ID
}

// groupsAnnotation asks that the container's first process keeps the runtime's supplementary groups (crun's): for a
// rootless one they are what lets it read files of groups that its namespace cannot name.
const groupsAnnotation = "run.oci.keep_original_groups"

// contextBase is where the process offers its file systems: above every descriptor that its program gets.
const contextBase = 200

// spawn clones the process and brings it to where it waits for its root.
func (k *creation) spawn(ctx context.Context, undo *cleanup.Stack) error {
	host, inside, err := handshake.Pair()
	if err != nil {
		return err
	}
	k.host = host
	defer func() { _ = unix.Close(inside) }()
	join, tasks, err := openJoin(k.c.group)
	if err != nil {
		return err
	}
	defer closeAll(append(tasks, join))
	if k.prog, err = k.program(ctx, inside, tasks); err != nil {
		return err
	}
	pid, fd, err := k.plan.spawn(k.prog, join)
	if err != nil {
		return err
	}
	_ = unix.Close(inside)
	inside = -1
	k.c.rec.Pid, k.c.pidfd = pid, fd
	undo.Add(k.abandon)
	freeProcessors(pid)
	if k.plan.lateUser {
		if _, err := k.read(); err != nil { // it is in its user namespace
			return err
		}
	}
	if k.plan.newUser || k.plan.lateUser {
		if err := idmap.Write(pid, k.spec.Linux.UIDMappings, k.spec.Linux.GIDMappings); err != nil {
			return err
		}
		if err := handshake.Go(k.host, ""); err != nil {
			return err
		}
	}
	if k.plan.fork {
		if err := k.second(); err != nil {
			return err
		}
	}
	if err := k.c.joinResctrl(k.c.rec.Pid); err != nil {
		return err
	}
	// With the process ends every wait for one of its messages.
	k.stop = context.AfterFunc(ctx, func() { _ = pidfd.Signal(k.c.Pidfd(), unix.SIGKILL) })
	return nil
}

// program computes what the process will do.
func (k *creation) program(ctx context.Context, sync int, tasks []int) (*child.Program, error) {
	p := k.spec.Process
	lim, err := limits(ctx, p, k.plan.user)
	if err != nil {
		return nil, err
	}
	return child.Build(&child.Config{
		Sync: sync, Tasks: tasks, Joins: k.plan.joins, NewUser: k.plan.newUser, LateUser: k.plan.lateUser, Within: k.plan.within, Unshare: k.plan.unshare, Fork: k.plan.fork,
		Contexts: k.names, ContextBase: contextBase, Init: true, MountNS: k.plan.newMount, Back: k.plan.back, Root: -1, StateDir: k.state, TTY: -1,
		Stdio: k.files.stdio, Extra: k.files.extra, Keyring: k.c.keyring(), Labels: k.labels, Sysctls: k.ownSysctls(), NoGroups: k.plan.user && idmap.NoGroups("self"), Process: p, Home: true, Linux: k.spec.Linux,
		Limits: lim, Sets: sets(ctx, p.Capabilities, k.plan.user), Seccomp: k.c.filter, Landlock: k.landlock != nil,
		KeepGroups: k.spec.Annotations[groupsAnnotation] == "1",
	})
}

// second takes over the process that the first one cloned inside its user namespace.
func (k *creation) second() error {
	m, err := k.read()
	if err == nil && m.Kind == handshake.Ready { // the second was faster than the first one's farewell
		k.ready = true
		m, err = k.read()
	}
	if err != nil {
		return err
	}
	if m.Kind != handshake.PID {
		return errdefs.FailedPrecondition("handshake: message %d instead of the pid", m.Kind)
	}
	reap(k.c.pidfd)
	_ = unix.Close(k.c.pidfd)
	k.c.rec.Pid = int(m.Value)
	k.c.pidfd, err = pidfd.Open(k.c.rec.Pid)
	return err
}

// read waits for a message; Failed and a silent end are errors.
func (k *creation) read() (handshake.Message, error) {
	m, err := readMessage(k.host, k.prog)
	if !errors.Is(err, io.EOF) {
		return m, err
	}
	if n, e := k.c.group.OOMKills(); e == nil && n > 0 {
		err = errdefs.FailedPrecondition("unable to start container process: container init was OOM-killed (memory limit too low?)")
	}
	return m, err
}

func readMessage(host int, prog *child.Program) (handshake.Message, error) {
	m, err := handshake.Read(host)
	if err != nil {
		return m, fmt.Errorf("unable to start container process: %w", err)
	}
	if m.Kind == handshake.Failed {
		e := m.Err()
		e.Detail = prog.Detail(m.Op)
		return m, fmt.Errorf("unable to start container process: %w", e)
	}
	return m, nil
}

// abandon ends a process that will never be started, and reaps it.
func (k *creation) abandon(ctx context.Context) error {
	fd := k.c.pidfd
	if fd < 0 {
		return nil
	}
	_ = pidfd.Signal(fd, unix.SIGKILL)
	err := pidfd.Wait(ctx, fd)
	reap(fd)
	return errors.Join(err, k.c.Close())
}

// reap takes the status of an ended child that no caller knows of. Its parent's own reaper may have been faster.
func reap(fd int) {
	var info unix.Siginfo
	for unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WALL, nil) == unix.EINTR {
		continue
	}
}

// finish lets the process go on from its new root to exec.fifo.
func (k *creation) finish(ctx context.Context, _ *cleanup.Stack) error {
	if err := k.oomScore(ctx); err != nil {
		return err
	}
	if err := handshake.Go(k.host, k.built.home, k.built.rights()...); err != nil {
		return err
	}
	m, err := k.read()
	if err == nil && m.Kind == handshake.Listener {
		if err = k.c.sendListener(k.c.rec.Pid, k.c.pidfd, int(m.Value), specs.StateCreating); err == nil {
			if err = handshake.Go(k.host, ""); err == nil {
				m, err = k.read()
			}
		}
	}
	if err != nil {
		return err
	}
	if m.Kind != handshake.Created {
		return errdefs.FailedPrecondition("handshake: message %d instead of created", m.Kind)
	}
	if k.built.pair != nil {
		master := k.built.pair.Master
		k.built.pair.Master = nil
		if err := k.o.Terminal(master); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
	}
	return writePid(k.o.PidFile, k.c.rec.Pid)
}

// oomScore sets what the specification asks for. Lowering takes CAP_SYS_RESOURCE; without it the value stays.
func (k *creation) oomScore(ctx context.Context) error {
	adj := k.spec.Process.OOMScoreAdj
	if adj == nil {
		return nil
	}
	path := fmt.Sprintf("/proc/%d/oom_score_adj", k.c.rec.Pid)
	err := os.WriteFile(path, []byte(strconv.Itoa(*adj)), 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		logging.From(ctx).Warn("oom_score_adj cannot be lowered without CAP_SYS_RESOURCE", "asked", *adj)
		return nil
	}
	return err
}

func writePid(path string, pid int) error {
	if path == "" {
		return nil
	}
	return atomicfile.Write(path, []byte(strconv.Itoa(pid)), 0o644, false)
}

// openJoin opens what a new process needs to get into the group: the v2 directory (-1 without one) and the v1 files.
func openJoin(g *cgroup.Group) (v2 int, tasks []int, err error) {
	j, err := g.Join()
	if err != nil {
		return -1, nil, err
	}
	v2 = -1
	if j.V2 != nil {
		defer func() { _ = j.V2.Close() }()
		if v2, err = unix.FcntlInt(j.V2.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return -1, nil, fmt.Errorf("cgroup: %w", err)
		}
	}
	for _, path := range j.Tasks {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			closeAll(append(tasks, v2))
			return -1, nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		tasks = append(tasks, fd)
	}
	return v2, tasks, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
