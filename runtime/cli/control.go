package cli

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/runtime/container"
)

func (a *app) kill(ctx context.Context, c *call) (int, error) {
	if c.opt.regex {
		return 1, errdefs.NotImplemented("--regex is not supported: name the container")
	}
	sig := unix.SIGTERM
	if len(c.args) > 1 {
		var err error
		if sig, err = parseSignal(c.args[1]); err != nil {
			return 1, err
		}
	}
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	return 0, made.Kill(ctx, sig, c.opt.all)
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
		return 1, errdefs.NotImplemented("--regex is not supported: name the container")
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
	return 0, made.Delete(ctx, c.opt.force)
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
