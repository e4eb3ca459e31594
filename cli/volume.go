package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/format"
	"github.com/conex-containers/conex/cli/spec"
	"github.com/conex-containers/conex/client"
)

func volumeCreateCommand(s *Session) *cobra.Command {
	var name, driver string
	var labels, opts spec.List
	c := &cobra.Command{
		Use: "create [OPTIONS] [VOLUME]", Args: maxArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if name != "" {
					return errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
				}
				name = args[0]
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			v, err := cl.VolumeCreate(c.Context(), volume.CreateRequest{Name: name, Driver: driver, DriverOpts: opts.Map(), Labels: labels.Map()})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.Out, v.Name)
			return err
		},
	}
	labels.Check = spec.CheckLabel
	f := c.Flags()
	f.StringVarP(&driver, "driver", "d", "local", "Specify volume driver name")
	f.StringVar(&name, "name", "", "Specify volume name")
	_ = f.MarkHidden("name")
	f.Var(&labels, "label", "Set metadata for a volume")
	f.VarP(&opts, "opt", "o", "Set driver specific options")
	return c
}

func volumeListCommand(s *Session) *cobra.Command {
	return s.listCommand("Provide filter values (e.g. \"dangling=true\")", "Only display volume names", func(ctx context.Context, cl *client.Client, o *listOptions) error {
		r, err := cl.VolumeList(ctx, o.filter.values)
		if err != nil {
			return err
		}
		slices.SortFunc(r.Volumes, func(a, b volume.Volume) int { return strings.Compare(a.Name, b.Name) })
		return format.List(s.Out, format.Volumes(), o.layout, o.quiet, format.VolumeRows(r.Volumes))
	})
}

func volumeRemoveCommand(s *Session) *cobra.Command {
	return s.removeCommand("rm [OPTIONS] VOLUME [VOLUME...]", "volume", "Force the removal of one or more volumes",
		func(ctx context.Context, cl *client.Client, name string, force bool) (string, error) {
			return name, cl.VolumeRemove(ctx, name, force)
		})
}
