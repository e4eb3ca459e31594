package container

import (
	"context"
	"encoding/json"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/landlock"
	"github.com/conex-containers/conex/linux/safepath"
	"github.com/conex-containers/conex/runtime/spec"
)

// askLandlock reads the ruleset that the configuration asks for, and keeps it for processes that come later. One of
// which this kernel knows nothing is dropped with a warning, unless the configuration forbids that.
func (k *creation) askLandlock(ctx context.Context) error {
	p, err := spec.Landlock(k.spec)
	if p == nil || err != nil {
		return err
	}
	restricts, err := p.Restricts(landlock.ABI())
	if err != nil {
		return err
	}
	if !restricts {
		logging.From(ctx).Warn("landlock: this kernel knows nothing of what the ruleset handles: the container runs without it")
		return nil
	}
	k.landlock = p
	return nil
}

// restriction makes the ruleset for a process whose root directory is root.
func restriction(ctx context.Context, p *landlock.Policy, root safepath.Root) (int, error) {
	m, err := p.Make(landlock.ABI(), func(path string) (int, error) { return root.Open(path, unix.O_PATH) })
	if err == nil && len(m.Left) > 0 {
		logging.From(ctx).Warn("landlock: left out of the ruleset", "what", strings.Join(m.Left, "; "))
	}
	return m.FD, err
}

// restrict makes the ruleset of the first process, when its mounts are as it will see them.
func (b *builder) restrict() (err error) {
	if b.k.landlock != nil {
		b.k.built.ruleset, err = restriction(b.ctx, b.k.landlock, b.root)
	}
	return err
}

// loadedLandlock is the container's ruleset for one more process.
func (c *Container) loadedLandlock() (*landlock.Policy, error) {
	if c.rec.Landlock == nil {
		return nil, nil
	}
	return landlock.Parse(c.rec.Landlock)
}

func encodeLandlock(p *landlock.Policy) (json.RawMessage, error) {
	if p == nil {
		return nil, nil
	}
	return json.Marshal(p)
}
