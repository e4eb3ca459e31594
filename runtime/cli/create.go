package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/pty"
	"github.com/conex-containers/conex/runtime/container"
	"github.com/conex-containers/conex/runtime/handshake"
	"github.com/conex-containers/conex/runtime/spec"
)

func (a *app) create(ctx context.Context, c *call) (int, error) {
	if err := seal(); err != nil {
		return 1, err
	}
	o, err := a.createOptions(c)
	if err != nil {
		return 1, err
	}
	made, err := container.Create(ctx, *o)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	logging.From(ctx).Debug("created", "container", made.ID(), "pid", made.Pid())
	return 0, sendPidfd(c.opt.pidfdSocket, made.Pidfd())
}

func (a *app) start(ctx context.Context, c *call) (int, error) {
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	ready, err := a.notifier(made)
	if err != nil {
		return 1, err
	}
	defer ready.close()
	if err := made.Start(ctx); err != nil {
		return 1, err
	}
	return 0, ready.detached(ctx, made)
}

// runContainer is create and start; in the foreground also wait and delete.
func (a *app) runContainer(ctx context.Context, c *call) (int, error) {
	if err := seal(); err != nil {
		return 1, err
	}
	o, err := a.createOptions(c)
	if err != nil {
		return 1, err
	}
	var fg *foreground
	if !c.opt.detach {
		fg = newForeground(a)
		defer fg.close()
		if !c.opt.noSubreaper {
			_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		}
		if c.opt.consoleSocket == "" {
			o.Terminal = fg.terminal
		}
	}
	made, err := container.Create(ctx, *o)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	logging.From(ctx).Debug("created", "container", made.ID(), "pid", made.Pid())
	ready, err := a.launch(ctx, c, made)
	if err != nil {
		return exitOf(err), errors.Join(err, made.Delete(ctx, true))
	}
	defer ready.close()
	if c.opt.detach {
		return 0, ready.detached(ctx, made)
	}
	relayed := ready.attached(ctx, a, made)
	code, err := fg.wait(made.Pid(), made.Pidfd())
	relayed()
	if err != nil || c.opt.keep {
		return code, err
	}
	return code, made.Delete(ctx, true)
}

// launch starts what was made.
func (a *app) launch(ctx context.Context, c *call, made *container.Container) (*notifier, error) {
	if err := sendPidfd(c.opt.pidfdSocket, made.Pidfd()); err != nil {
		return nil, err
	}
	ready, err := a.notifier(made)
	if err == nil {
		err = made.Start(ctx)
	}
	if err != nil {
		ready.close()
		return nil, err
	}
	return ready, nil
}

// exitOf is the shell's exit code for a program that did not start, else 1.
func exitOf(err error) int {
	var program *container.ProgramError
	var step *handshake.Error
	switch {
	case !errors.As(err, &program) && !(errors.As(err, &step) && step.Step == handshake.StepExec):
	case errors.Is(err, unix.ENOENT):
		return 127
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EISDIR):
		return 126
	}
	return 1
}

// filterCache is no id, so no container's directory either.
const filterCache = "@filters"

func (a *app) createOptions(c *call) (*container.Options, error) {
	o := &container.Options{ID: c.args[0], Root: a.root, Bundle: c.opt.bundle, NoPivot: c.opt.noPivot,
		NoNewKeyring: c.opt.noNewKeyring, SystemdCgroup: a.systemd, NoCgroup: a.noGroups, Rootless: a.rootless, PidFile: c.opt.pidFile, Manner: a.manner.Manner, NotifySocket: a.notifyPlace(),
		Stdio: [3]*os.File{a.stdin, a.stdout, a.stderr}}
	if o.Bundle == "" {
		o.Bundle = "."
	}
	if a.root != "" {
		o.FilterCache = filepath.Join(a.root, filterCache)
	}
	var err error
	if c.opt.config != "" || a.second || os.Getenv("LISTEN_FDS") != "" {
		if o.Spec, err = a.configuration(c); err != nil {
			return nil, err
		}
	}
	if a.second {
		within(o.Spec)
	}
	if c.opt.consoleSocket != "" {
		o.Terminal = sendMaster(c.opt.consoleSocket)
	}
	if o.ExtraFiles, err = inherited(c.opt.preserveFDs, a.manner.preserveGaps); err != nil {
		return nil, err
	}
	if o.Spec != nil {
		o.Spec.Process.Env = append(o.Spec.Process.Env, listenEnv()...)
	}
	return o, nil
}

// listenEnv is what a program that systemd's socket activation is for looks at (sd_listen_fds(3)): it is process 1.
func listenEnv() []string {
	if n := os.Getenv("LISTEN_FDS"); n != "" {
		return []string{"LISTEN_FDS=" + n, "LISTEN_PID=1"}
	}
	return nil
}

// inherited are the descriptors from 3 on that the program gets: those of socket activation and n more. One that is not
// open is an error, or nil where gaps are passed over. An execve(2) closes what has FD_CLOEXEC, so such a one is this
// program's own and never handed on, whatever n is.
func inherited(n int, gaps bool) ([]*os.File, error) {
	if s := os.Getenv("LISTEN_FDS"); s != "" {
		listen, err := strconv.Atoi(s)
		if err != nil {
			return nil, fmt.Errorf("unable to use LISTEN_FDS: %w", err)
		}
		n += listen
	}
	var out []*os.File
	for fd := 3; fd < 3+n; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			err = unix.EBADF
		}
		switch {
		case err == nil:
			out = append(out, os.NewFile(uintptr(fd), "inherited"))
		case gaps:
			out = append(out, nil)
		default:
			return nil, fmt.Errorf("unable to preserve file descriptor %d: %w", fd, err)
		}
	}
	for len(out) > 0 && out[len(out)-1] == nil {
		out = out[:len(out)-1]
	}
	return out, nil
}

// sendMaster hands a terminal's master to whoever listens at path.
func sendMaster(path string) func(*os.File) error {
	return func(master *os.File) error {
		defer func() { _ = master.Close() }()
		return pty.Send(path, master)
	}
}

// sendPidfd hands a pidfd to whoever listens at path.
func sendPidfd(path string, fd int) error {
	if path == "" {
		return nil
	}
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(n), "pidfd")
	defer func() { _ = f.Close() }()
	return pty.Send(path, f)
}

// spec writes an example configuration.
func (a *app) spec(_ context.Context, c *call) (int, error) {
	if c.opt.bundle != "" {
		if err := os.Chdir(c.opt.bundle); err != nil {
			return 1, err
		}
	}
	f, err := os.OpenFile(spec.ConfigName, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return 1, fmt.Errorf("file %s exists. Remove it first", spec.ConfigName)
	}
	if err != nil {
		return 1, err
	}
	err = writeIndented(f, "\t", spec.Example(c.opt.rootless))
	return 0, errors.Join(err, f.Close())
}

func (a *app) features(context.Context, *call) (int, error) {
	return 0, writeIndented(a.stdout, "    ", spec.Features())
}
