package container

import (
	"context"
	"fmt"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/resctrl"
)

// makeResctrl makes the container's class of service (linux.intelRdt).
func (k *creation) makeResctrl(_ context.Context, undo *cleanup.Stack) error {
	c := k.spec.Linux.IntelRdt
	if c == nil {
		return nil
	}
	root := k.o.Resctrl
	if root == "" {
		var err error
		if root, err = resctrl.Find(); err != nil {
			return err
		}
	}
	g, err := resctrl.New(root, k.o.ID, c)
	if err != nil {
		return err
	}
	undo.Add(func(context.Context) error { return g.Destroy() })
	k.c.rec.Resctrl = g
	return nil
}

// UpdateIntelRdt changes the cache and bandwidth schemata; "" leaves one as it is. FailedPrecondition for a container
// without linux.intelRdt.
func (c *Container) UpdateIntelRdt(_ context.Context, l3, memBw string) error {
	g := c.rec.Resctrl
	if g == nil {
		return errdefs.FailedPrecondition("container %s: update: Intel RDT: the container was made without intelRdt", c.ID())
	}
	if err := g.Update(l3, memBw); err != nil {
		return fmt.Errorf("container %s: update: %w", c.ID(), err)
	}
	return nil
}

// joinResctrl moves a process that has not executed its program yet.
func (c *Container) joinResctrl(pid int) error {
	if c.rec.Resctrl == nil {
		return nil
	}
	return c.rec.Resctrl.Add(pid)
}
