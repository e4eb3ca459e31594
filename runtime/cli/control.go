package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/runtime/container"
)

func (a *app) kill(ctx context.Context, c *call) (int, error) {
	sig := unix.SIGTERM
	if len(c.args) > 1 {
		var err error
		if sig, err = parseSignal(c.args[1]); err != nil {
			return 1, err
		}
	}
	if c.opt.regex {
		return 0, a.each(c.args[0], func(made *container.Container) error { return made.Kill(ctx, sig, c.opt.all) })
	}
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	return 0, made.Kill(ctx, sig, c.opt.all)
}

// each does what do does with every container whose id the expression matches somewhere.
func (a *app) each(expression string, do func(*container.Container) error) error {
	re, err := regexp.Compile(expression)
	if err != nil {
		return errdefs.InvalidArgument("--regex: %w", err)
	}
	all, err := container.List(a.root)
	for _, made := range all {
		if re.MatchString(made.ID()) {
			made.SetManner(a.manner.Manner)
			err = errors.Join(err, do(made))
		}
		_ = made.Close()
	}
	return err
}

// parseSignal reads "9", "KILL", "SIGKILL", any case.
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, errdefs.InvalidArgument("unknown signal %q", s)
		}
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	sig := unix.SignalNum(name)
	if sig == 0 {
		return 0, errdefs.InvalidArgument("unknown signal %q", s)
	}
	return sig, nil
}

func (a *app) delete(ctx context.Context, c *call) (int, error) {
	if c.opt.regex {
		return 0, a.each(c.args[0], func(made *container.Container) error { return a.remove(ctx, made, c.opt.force) })
	}
	made, err := a.load(c)
	if errdefs.IsNotFound(err) {
		// A directory without a state is what a crashed create leaves.
		id, parsed := ids.Parse(c.args[0])
		if parsed != nil {
			return 1, parsed
		}
		if _, e := os.Stat(filepath.Join(a.root, id.String())); e == nil {
			return 0, container.Remove(a.root, id.String())
		}
		if c.opt.force {
			return 0, nil
		}
	}
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	return 0, a.remove(ctx, made, c.opt.force)
}

// remove deletes a container, with the state that the manner counts as stopped.
func (a *app) remove(ctx context.Context, made *container.Container, force bool) error {
	if !force && a.manner.deleteCreated {
		s, err := made.State(ctx)
		if err != nil {
			return err
		}
		force = s.Status == specs.StateCreated
	}
	return made.Delete(ctx, force)
}

func (a *app) pause(ctx context.Context, c *call) (int, error) {
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	return 0, made.Pause(ctx)
}

func (a *app) resume(ctx context.Context, c *call) (int, error) {
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	return 0, made.Resume(ctx)
}
