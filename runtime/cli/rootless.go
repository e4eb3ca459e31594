package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/idmap"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/container"
	"github.com/conex-containers/conex/runtime/handshake"
	"github.com/conex-containers/conex/runtime/spec"
)

// Without privileges the program begins once more, as root of a user namespace with the container's own mapping:
//
//	conex-runtime create (uid 1000)
//	    └─ clone(CLONE_NEWUSER), uid_map as in config.json (newuidmap where there is more than one's own id)
//	         └─ conex-runtime create (root there): the container, whose user namespace maps these ids to themselves
//
// A process with several threads, as each Go program is, may not enter a user namespace, and only its root may make the
// container's mounts. Later commands find that namespace as the parent of the container's. A user namespace that the container
// is to share with others takes the place of both: whoever owns it may enter it.

// insiders are the commands that work in a container's namespaces.
var insiders = []string{"create", "run", "start", "exec", "mounts"}

// mark says in the environment that the program has begun again.
const mark = "_CONEX_ROOTLESS"

// second takes the mark away: what this program starts is not to see it.
func second() bool {
	_, ok := os.LookupEnv(mark)
	if ok {
		_ = os.Unsetenv(mark)
	}
	return ok
}

func (a *app) unprivileged() bool { return a.second || os.Geteuid() != 0 }

// again begins the program once more and does for it what its caller does for this one: signals and the exit code.
func (a *app) again(ctx context.Context, cmd *command, c *call) (int, error) {
	userns, s, err := a.place(cmd, c)
	if err != nil {
		return 1, err
	}
	host, inside, err := handshake.Pair()
	if err != nil {
		return 1, err
	}
	defer func() { _ = unix.Close(host) }()
	defer func() { _ = unix.Close(inside) }()
	prog, err := child.Again(inside, userns, "/proc/self/exe", os.Args, append(os.Environ(), mark+"=1"))
	if err != nil {
		return 1, err
	}
	flags := unix.CLONE_NEWUSER
	if userns >= 0 {
		flags = 0
		defer func() { _ = unix.Close(userns) }()
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	signal.Ignore(unix.SIGINT, unix.SIGQUIT) // the terminal sends them to both
	pid, fd, err := child.Clone(prog, flags, -1)
	if err != nil {
		return 1, fmt.Errorf("user namespace: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.Close(inside)
	inside = -1
	if err := a.begin(host, pid, s, prog); err != nil {
		_ = pidfd.Signal(fd, unix.SIGKILL)
		return 1, err
	}
	go func() {
		for sig := range signals {
			_ = pidfd.Signal(fd, sig.(syscall.Signal))
		}
	}()
	if err := pidfd.Wait(ctx, fd); err != nil {
		return 1, err
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return 1, err
	}
	return exitCode(ws), nil
}

// place finds the user namespace of a container that is there, or the configuration of one that is to be made.
func (a *app) place(cmd *command, c *call) (userns int, s *specs.Spec, err error) {
	if cmd.name == "create" || cmd.name == "run" {
		s, err = a.configuration(c)
		if err != nil {
			return -1, nil, err
		}
		ns, ok := spec.Namespace(s, specs.UserNamespace)
		if !ok {
			return -1, nil, errdefs.InvalidArgument("rootless container requires user namespaces")
		}
		if ns.Path != "" {
			userns, err = namespace.Open(ns.Path, unix.CLONE_NEWUSER)
			return userns, nil, err
		}
		return -1, s, nil
	}
	id := c.args[0]
	if cmd.name == "mounts" {
		id = c.args[1]
	}
	made, err := container.Load(a.root, id)
	if err != nil {
		return -1, nil, err
	}
	defer func() { _ = made.Close() }()
	own, err := namespace.Of(made.Pid(), "user")
	if errors.Is(err, os.ErrNotExist) {
		return -1, nil, errdefs.FailedPrecondition("container %s: not running", id)
	}
	if err != nil {
		return -1, nil, err
	}
	if made.SharesUser() {
		return own, nil, nil
	}
	defer func() { _ = unix.Close(own) }()
	userns, err = namespace.Parent(own)
	return userns, nil, err
}

// begin writes the maps and lets the copy go on until it has executed this program.
func (a *app) begin(host, pid int, s *specs.Spec, prog *child.Program) error {
	if s != nil {
		if err := idmap.Write(pid, s.Linux.UIDMappings, s.Linux.GIDMappings); err != nil {
			return err
		}
		if err := handshake.Go(host, ""); err != nil {
			return err
		}
	}
	m, err := handshake.Read(host)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		e := m.Err()
		e.Detail = prog.Detail(m.Op)
		err = e
	}
	return fmt.Errorf("begin as root of a user namespace: %w", err)
}

// configuration is what create and run are to read.
func (a *app) configuration(c *call) (*specs.Spec, error) {
	if c.opt.config == "" {
		bundle := c.opt.bundle
		if bundle == "" {
			bundle = "."
		}
		return spec.Load(bundle)
	}
	b, err := os.ReadFile(c.opt.config)
	if err != nil {
		return nil, err
	}
	return spec.Parse(b)
}

// within makes the mappings those of a container whose user namespace is below one with the same mappings.
func within(s *specs.Spec) {
	for _, m := range [][]specs.LinuxIDMapping{s.Linux.UIDMappings, s.Linux.GIDMappings} {
		for i := range m {
			m[i].HostID = m[i].ContainerID
		}
	}
}
