package backend

import (
	"context"
	"path/filepath"
	"syscall"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/runtime/container"
)

// Remains is a container whose shim has died.
type Remains struct {
	ID      string
	Root    string // state directory of the runtime
	Bundle  string
	Runtime string // path of a foreign runtime; "": the built-in one
	Args    []string
}

// Sweep kills what is left of a container and removes all of it; it returns the pid of its process, 0 when nothing was
// known of it.
func Sweep(ctx context.Context, r Remains) (pid int, err error) {
	if r.Runtime == "" {
		return sweepOwn(ctx, r)
	}
	m := &foreign{runtime: Foreign{Path: r.Runtime, Args: r.Args}, id: r.ID, root: r.Root, bundle: r.Bundle, mounted: true}
	pid, _ = readPid(filepath.Join(r.Bundle, pidFile)) // without one there was no container yet
	return pid, m.Delete(ctx)
}

func sweepOwn(ctx context.Context, r Remains) (int, error) {
	c, err := container.Load(r.Root, r.ID)
	if errdefs.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	pid := c.Pid()
	if err := c.Kill(ctx, syscall.SIGKILL, true); err != nil && !errdefs.Is(err, errdefs.ErrFailedPrecondition) && !errdefs.IsNotFound(err) {
		return pid, err
	}
	return pid, c.Delete(ctx, true)
}
