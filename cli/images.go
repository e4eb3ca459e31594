package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/format"
)

type imagesOptions struct {
	all, digests, noTrunc, quiet bool
	format                       string
	filter                       filters
}

func imagesCommand(s *Session) *cobra.Command {
	var o imagesOptions
	c := &cobra.Command{
		Use: "images [OPTIONS] [REPOSITORY[:TAG]]", Args: maxArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.filter.add("reference", args[0])
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			digests := o.digests || strings.Contains(o.format, ".Digest")
			list, err := cl.ImageList(c.Context(), o.filter.values, o.all)
			if err != nil {
				return err
			}
			return format.List(s.Out, format.Images(o.digests), o.format, o.quiet, format.ImageRows(list, digests, o.noTrunc, time.Now()))
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "Show all images (default hides intermediate and dangling images)")
	f.BoolVar(&o.digests, "digests", false, "Show digests")
	f.VarP(&o.filter, "filter", "f", "Filter output based on conditions provided")
	f.StringVar(&o.format, "format", "", formatUsage)
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Only show image IDs")
	return c
}
