package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/volume"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/format"
	"github.com/conex-containers/conex/cli/spec"
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
	var layout string
	var quiet bool
	var filter filters
	c := &cobra.Command{
		Use: "ls [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			r, err := cl.VolumeList(c.Context(), filter.values)
			if err != nil {
				return err
			}
			slices.SortFunc(r.Volumes, func(a, b volume.Volume) int { return strings.Compare(a.Name, b.Name) })
			return format.List(s.Out, format.Volumes(), layout, quiet, format.VolumeRows(r.Volumes))
		},
	}
	f := c.Flags()
	f.VarP(&filter, "filter", "f", "Provide filter values (e.g. \"dangling=true\")")
	f.StringVar(&layout, "format", "", formatUsage)
	f.BoolVarP(&quiet, "quiet", "q", false, "Only display volume names")
	return c
}

func volumeRemoveCommand(s *Session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rm [OPTIONS] VOLUME [VOLUME...]", Args: minArgs(1), ValidArgsFunction: s.completeKind("volume"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return s.each(args, func(name string) (string, error) { return name, cl.VolumeRemove(c.Context(), name, force) })
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Force the removal of one or more volumes")
	return c
}
