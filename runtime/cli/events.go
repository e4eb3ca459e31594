package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/container"
)

// event is one line of `events`, in runc's form.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

// events prints the counters once, or every interval until the container ends, and an event for each time that it
// ran out of memory, when that happens.
func (a *app) events(ctx context.Context, c *call) (int, error) {
	every, err := time.ParseDuration(c.opt.interval)
	if err != nil || every <= 0 {
		return 1, errdefs.InvalidArgument("duration interval must be greater than 0")
	}
	made, err := a.load(c)
	if err != nil {
		return 1, err
	}
	defer func() { _ = made.Close() }()
	if made.Pidfd() < 0 || pidfd.Exited(made.Pidfd()) {
		return 1, errdefs.FailedPrecondition("container with id %s is not running", made.ID())
	}
	out := json.NewEncoder(a.stdout)
	if c.opt.stats {
		return 0, encodeStats(out, made)
	}
	return 0, watch(ctx, out, made, every)
}

func encodeStats(out *json.Encoder, made *container.Container) error {
	s, err := made.Cgroup().Stats()
	if err != nil {
		return err
	}
	return out.Encode(event{"stats", made.ID(), stats(s)})
}

// watch reports until the container ends.
func watch(ctx context.Context, out *json.Encoder, made *container.Container, every time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	oom, err := made.Cgroup().WatchOOM(ctx)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- pidfd.Wait(ctx, made.Pidfd()) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case _, ok := <-oom:
			if !ok {
				oom = nil // the group is gone: the container ends
				continue
			}
			err = out.Encode(event{Type: "oom", ID: made.ID()})
		case <-tick.C:
			err = encodeStats(out, made)
		}
		if err != nil {
			return err
		}
	}
}
