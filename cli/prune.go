package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/client"
)

// pruneOptions are the flags that the prune commands share.
type pruneOptions struct {
	force, all, volumes bool
	filter              filters
}

// pruneCommand makes one: warn is asked before, do removes and returns the report to print.
func (s *Session) pruneCommand(o *pruneOptions, warn func() string, do func(context.Context, *client.Client) (string, uint64, error)) *cobra.Command {
	c := &cobra.Command{
		Use: "prune [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if !o.force {
				ok, err := s.confirm(warn())
				if err != nil || !ok {
					return err
				}
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			report, freed, err := do(c.Context(), cl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "%sTotal reclaimed space: %s\n", report, units.HumanSize(float64(freed)))
			return err
		},
	}
	c.Flags().BoolVarP(&o.force, "force", "f", false, "Do not prompt for confirmation")
	c.Flags().Var(&o.filter, "filter", `Provide filter values (e.g. "label=<key>=<value>")`)
	return c
}

// confirm asks; anything but y is no.
func (s *Session) confirm(question string) (bool, error) {
	_, _ = fmt.Fprint(s.Out, question+" [y/N] ")
	line, err := bufio.NewReader(s.In).ReadString('\n')
	if err != nil && line == "" {
		_, _ = fmt.Fprintln(s.Out)
		return false, nil
	}
	return strings.EqualFold(strings.TrimSpace(line), "y"), nil
}

func listing(title string, items []string) string {
	if len(items) == 0 {
		return ""
	}
	return title + ":\n" + strings.Join(items, "\n") + "\n\n"
}

func containerPruneCommand(s *Session) *cobra.Command {
	var o pruneOptions
	return s.pruneCommand(&o,
		func() string {
			return "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?"
		},
		func(ctx context.Context, cl *client.Client) (string, uint64, error) {
			r, err := cl.ContainersPrune(ctx, o.filter.values)
			return listing("Deleted Containers", r.ContainersDeleted), r.SpaceReclaimed, err
		})
}

func imagePruneCommand(s *Session) *cobra.Command {
	var o pruneOptions
	c := s.pruneCommand(&o,
		func() string {
			if o.all {
				return "WARNING! This will remove all images without at least one container associated to them.\nAre you sure you want to continue?"
			}
			return "WARNING! This will remove all dangling images.\nAre you sure you want to continue?"
		},
		func(ctx context.Context, cl *client.Client) (string, uint64, error) { return pruneImages(ctx, cl, &o) })
	c.Flags().BoolVarP(&o.all, "all", "a", false, "Remove all unused images, not just dangling ones")
	return c
}

func pruneImages(ctx context.Context, cl *client.Client, o *pruneOptions) (string, uint64, error) {
	f := o.filter
	f.values = nil
	for k, vs := range o.filter.values {
		for v := range vs {
			f.add(k, v)
		}
	}
	f.add("dangling", fmt.Sprint(!o.all))
	r, err := cl.ImagesPrune(ctx, f.values)
	var lines []string
	for _, d := range r.ImagesDeleted {
		if d.Untagged != "" {
			lines = append(lines, "untagged: "+d.Untagged)
		} else {
			lines = append(lines, "deleted: "+d.Deleted)
		}
	}
	return listing("Deleted Images", lines), r.SpaceReclaimed, err
}

func volumePruneCommand(s *Session) *cobra.Command {
	var o pruneOptions
	c := s.pruneCommand(&o,
		func() string {
			if o.all {
				return "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?"
			}
			return "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?"
		},
		func(ctx context.Context, cl *client.Client) (string, uint64, error) { return pruneVolumes(ctx, cl, &o) })
	c.Flags().BoolVarP(&o.all, "all", "a", false, "Remove all unused volumes, not just anonymous ones")
	return c
}

func pruneVolumes(ctx context.Context, cl *client.Client, o *pruneOptions) (string, uint64, error) {
	f := o.filter
	if o.all {
		f.add("all", "true")
	}
	r, err := cl.VolumesPrune(ctx, f.values)
	return listing("Deleted Volumes", r.VolumesDeleted), r.SpaceReclaimed, err
}

func networkPruneCommand(s *Session) *cobra.Command {
	var o pruneOptions
	c := s.pruneCommand(&o, nil, nil)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !o.force {
			ok, err := s.confirm("WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?")
			if err != nil || !ok {
				return err
			}
		}
		cl, err := s.Client()
		if err != nil {
			return err
		}
		r, err := cl.NetworksPrune(c.Context(), o.filter.values)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(s.Out, listing("Deleted Networks", r.NetworksDeleted))
		return err
	}
	return c
}

func systemPruneCommand(s *Session) *cobra.Command {
	var o pruneOptions
	c := s.pruneCommand(&o,
		func() string {
			lines := []string{"all stopped containers", "all networks not used by at least one container"}
			if o.volumes {
				lines = append(lines, "all anonymous volumes not used by at least one container")
			}
			if o.all {
				lines = append(lines, "all images without at least one container associated to them", "all build cache")
			} else {
				lines = append(lines, "all dangling images", "unused build cache")
			}
			return "WARNING! This will remove:\n  - " + strings.Join(lines, "\n  - ") + "\n\nAre you sure you want to continue?"
		},
		func(ctx context.Context, cl *client.Client) (string, uint64, error) { return systemPrune(ctx, cl, &o) })
	c.Flags().BoolVarP(&o.all, "all", "a", false, "Remove all unused images not just dangling ones")
	c.Flags().BoolVar(&o.volumes, "volumes", false, "Prune anonymous volumes")
	return c
}

// systemPrune removes in the order in which one frees the next.
func systemPrune(ctx context.Context, cl *client.Client, o *pruneOptions) (string, uint64, error) {
	var report strings.Builder
	var freed uint64
	cs, err := cl.ContainersPrune(ctx, o.filter.values)
	if err != nil {
		return "", 0, err
	}
	report.WriteString(listing("Deleted Containers", cs.ContainersDeleted))
	freed += cs.SpaceReclaimed
	ns, err := cl.NetworksPrune(ctx, o.filter.values)
	if err != nil {
		return report.String(), freed, err
	}
	report.WriteString(listing("Deleted Networks", ns.NetworksDeleted))
	steps := []func(context.Context, *client.Client, *pruneOptions) (string, uint64, error){pruneImages}
	if o.volumes {
		steps = append([]func(context.Context, *client.Client, *pruneOptions) (string, uint64, error){
			func(ctx context.Context, cl *client.Client, o *pruneOptions) (string, uint64, error) {
				return pruneVolumes(ctx, cl, &pruneOptions{filter: o.filter})
			}}, steps...)
	}
	for _, step := range steps {
		text, n, err := step(ctx, cl, o)
		if err != nil {
			return report.String(), freed, err
		}
		report.WriteString(text)
		freed += n
	}
	n, err := cl.BuildPrune(ctx, o.all)
	if err != nil && !errdefs.Is(err, errdefs.ErrNotImplemented) && !errors.Is(err, errdefs.ErrNotFound) {
		return report.String(), freed, err
	}
	return report.String(), freed + n, nil
}
