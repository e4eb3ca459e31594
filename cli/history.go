package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/format"
)

func historyCommand(s *Session) *cobra.Command {
	var human, noTrunc, quiet bool
	var layout, platform string
	c := &cobra.Command{
		Use: "history [OPTIONS] IMAGE", Args: exactArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			steps, err := cl.ImageHistory(c.Context(), args[0], platform)
			if err != nil {
				return err
			}
			return format.List(s.Out, format.History(human), layout, quiet, format.HistoryRows(steps, noTrunc, human, time.Now()))
		},
	}
	f := c.Flags()
	f.StringVar(&layout, "format", "", formatUsage)
	f.BoolVarP(&human, "human", "H", true, "Print sizes and dates in human readable format")
	f.BoolVar(&noTrunc, "no-trunc", false, "Don't truncate output")
	f.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	f.StringVar(&platform, "platform", "", "Show history for the given platform")
	return c
}
