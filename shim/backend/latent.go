package backend

import (
	"context"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/cgroup"
)

// latent is a container that Start makes: of a checkpoint, whose processes run as soon as they are there.
type latent struct {
	restore func(ctx context.Context) (Container, error)

	mu   sync.Mutex
	made Container
}

// Latent returns a container that restore makes when it is started. Until then its Pid is 0, and it takes nothing but
// Start and Delete.
func Latent(restore func(ctx context.Context) (Container, error)) Container {
	return &latent{restore: restore}
}

func (l *latent) get() Container {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made
}

// there returns the container, or an error before its start.
func (l *latent) there() (Container, error) {
	if c := l.get(); c != nil {
		return c, nil
	}
	return nil, errdefs.FailedPrecondition("the container is not started: it will be restored then")
}

func (l *latent) Pid() int {
	if c := l.get(); c != nil {
		return c.Pid()
	}
	return 0
}

func (l *latent) Cgroup() *cgroup.Group {
	if c := l.get(); c != nil {
		return c.Cgroup()
	}
	return nil
}

func (l *latent) Start(ctx context.Context) error {
	made, err := l.restore(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made = made
	return nil
}

func (l *latent) Kill(ctx context.Context, sig syscall.Signal, all bool) error {
	c, err := l.there()
	if err != nil {
		return err
	}
	return c.Kill(ctx, sig, all)
}

func (l *latent) Exec(ctx context.Context, e Exec) (*Process, error) {
	c, err := l.there()
	if err != nil {
		return nil, err
	}
	return c.Exec(ctx, e)
}

func (l *latent) Freeze(ctx context.Context, frozen bool) error {
	c, err := l.there()
	if err != nil {
		return err
	}
	return c.Freeze(ctx, frozen)
}

func (l *latent) Update(ctx context.Context, r *specs.LinuxResources) error {
	c, err := l.there()
	if err != nil {
		return err
	}
	return c.Update(ctx, r)
}

func (l *latent) Delete(ctx context.Context) error {
	if c := l.get(); c != nil {
		return c.Delete(ctx)
	}
	return nil
}

func (l *latent) Checkpoint(ctx context.Context, to Checkpoint) error {
	c, err := l.there()
	if err != nil {
		return err
	}
	checkpointer, ok := c.(Checkpointer)
	if !ok {
		return errdefs.NotImplemented("the runtime writes no checkpoints")
	}
	return checkpointer.Checkpoint(ctx, to)
}
