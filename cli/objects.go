package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/client"
)

// listOptions of `network ls` and `volume ls`.
type listOptions struct {
	layout string
	quiet  bool
	filter filters
}

// listCommand makes the `ls` of a kind of object; filterText and quietText are the texts of its flags.
func (s *Session) listCommand(filterText, quietText string, list func(ctx context.Context, cl *client.Client, o *listOptions) error) *cobra.Command {
	var o listOptions
	c := &cobra.Command{
		Use: "ls [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return list(c.Context(), cl, &o)
		},
	}
	f := c.Flags()
	f.VarP(&o.filter, "filter", "f", filterText)
	f.StringVar(&o.layout, "format", "", formatUsage)
	f.BoolVarP(&o.quiet, "quiet", "q", false, quietText)
	return c
}

// removeCommand makes the `rm` of a kind of object; remove returns what is printed of each.
func (s *Session) removeCommand(use, kind, forceText string, remove func(ctx context.Context, cl *client.Client, name string, force bool) (string, error)) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: use, Args: minArgs(1), ValidArgsFunction: s.completeKind(kind),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return s.each(args, func(name string) (string, error) { return remove(c.Context(), cl, name, force) })
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, forceText)
	return c
}
