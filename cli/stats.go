package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/format"
	"github.com/conex-containers/conex/client"
)

type statsOptions struct {
	all, noStream, noTrunc bool
	format                 string
}

func statsCommand(s *Session) *cobra.Command {
	var o statsOptions
	c := &cobra.Command{
		Use: "stats [OPTIONS] [CONTAINER...]", ValidArgsFunction: s.completeContainers("running"),
		RunE: func(c *cobra.Command, args []string) error { return s.stats(c.Context(), &o, args) },
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all containers (default shows just running)")
	f.StringVar(&o.format, "format", "", formatUsage)
	f.BoolVar(&o.noStream, "no-stream", false, "Disable streaming stats and only pull the first result")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Do not truncate output")
	return c
}

// board is the table of stats: one row per container, each kept fresh by a stream of its own.
type board struct {
	mu   sync.Mutex
	full bool
	refs []string
	rows map[string]format.Sample
	errs []error
}

func (b *board) set(ref string, r container.StatsResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows[ref] = format.NewSample(ref, b.full, r)
}

// add makes a row and tells whether it is new.
func (b *board) add(ref string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.refs, ref) {
		return false
	}
	b.refs = append(b.refs, ref)
	b.rows[ref] = format.Sample{Ref: ref, Full: b.full}
	return true
}

func (b *board) drop(ref string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.errs = append(b.errs, err)
	}
	b.refs = slices.DeleteFunc(b.refs, func(r string) bool { return r == ref })
}

func (b *board) samples() []format.Sample {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]format.Sample, len(b.refs))
	for i, ref := range b.refs {
		out[i] = b.rows[ref]
	}
	return out
}

func (s *Session) stats(ctx context.Context, o *statsOptions, names []string) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	b := &board{full: o.noTrunc, rows: map[string]format.Sample{}}
	refs := names
	if len(names) == 0 {
		list, err := cl.ContainerList(ctx, docker.ListOptions{All: o.all})
		if err != nil {
			return err
		}
		for _, c := range list {
			refs = append(refs, c.ID)
		}
	}
	if o.noStream {
		return s.statsOnce(ctx, cl, b, o, refs)
	}
	follow := func(ref string) {
		if b.add(ref) {
			go func() {
				err := cl.ContainerStats(ctx, ref, true, false, func(r container.StatsResponse) error { b.set(ref, r); return nil })
				if len(names) == 0 {
					err = nil // one that went away is no news
				}
				b.drop(ref, err)
			}()
		}
	}
	for _, ref := range refs {
		follow(ref)
	}
	if len(names) == 0 {
		go func() {
			_ = cl.Events(ctx, client.EventsOptions{Filters: docker.Filters{"type": {"container": true}, "event": {"start": true}}},
				func(m events.Message) error { follow(m.Actor.ID); return nil })
		}()
	}
	return s.statsLive(ctx, b, o, len(names) > 0)
}

func (s *Session) statsOnce(ctx context.Context, cl *client.Client, b *board, o *statsOptions, refs []string) error {
	var wait sync.WaitGroup
	for _, ref := range refs {
		b.add(ref)
		wait.Go(func() {
			err := cl.ContainerStats(ctx, ref, false, false, func(r container.StatsResponse) error { b.set(ref, r); return nil })
			if err != nil {
				b.drop(ref, err)
			}
		})
	}
	wait.Wait()
	if len(b.errs) > 0 {
		return errors.Join(b.errs...)
	}
	return format.List(s.Out, format.Stats(), o.format, false, b.samples())
}

// statsLive redraws twice a second, as Docker does; the pace is the eye's, not the engine's.
func (s *Session) statsLive(ctx context.Context, b *board, o *statsOptions, named bool) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var buf bytes.Buffer
		if s.outTerminal() != nil {
			buf.WriteString("\x1b[H") // home; each line then clears what it does not cover
		}
		var table bytes.Buffer
		if err := format.List(&table, format.Stats(), o.format, false, b.samples()); err != nil {
			return err
		}
		if s.outTerminal() != nil {
			buf.Write(bytes.ReplaceAll(table.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
			buf.WriteString("\x1b[J")
		} else {
			buf.Write(table.Bytes())
		}
		if _, err := s.Out.Write(buf.Bytes()); err != nil {
			return err
		}
		if named && len(b.samples()) == 0 {
			b.mu.Lock()
			defer b.mu.Unlock()
			return errors.Join(b.errs...)
		}
		select {
		case <-ctx.Done():
			_, _ = fmt.Fprintln(s.Out)
			return nil
		case <-tick.C:
		}
	}
}
