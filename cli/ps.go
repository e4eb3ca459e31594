package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/format"
)

type psOptions struct {
	all, latest, noTrunc, quiet, size bool
	last                              int
	format                            string
	filter                            filters
}

func psCommand(s *Session) *cobra.Command {
	var o psOptions
	c := &cobra.Command{
		Use: "ps [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error { return s.ps(c, &o) },
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all containers (default shows just running)")
	f.VarP(&o.filter, "filter", "f", "Filter output based on conditions provided")
	f.StringVar(&o.format, "format", "", formatUsage)
	f.IntVarP(&o.last, "last", "n", -1, "Show n last created containers (includes all states)")
	f.BoolVarP(&o.latest, "latest", "l", false, "Show the latest created container (includes all states)")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only display container IDs")
	f.BoolVarP(&o.size, "size", "s", false, "Display total file sizes")
	return c
}

func (s *Session) ps(c *cobra.Command, o *psOptions) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	q := docker.ListOptions{All: o.all, Limit: o.last, Size: o.size || strings.Contains(o.format, ".Size"), Filters: o.filter.values}
	if o.latest && o.last < 0 {
		q.Limit = 1
	}
	list, err := cl.ContainerList(c.Context(), q)
	if err != nil {
		return err
	}
	return format.List(s.Out, format.Containers(o.size), o.format, o.quiet, format.ContainerRows(list, o.noTrunc, time.Now()))
}
