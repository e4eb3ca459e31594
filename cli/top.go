package cli

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func topCommand(s *Session) *cobra.Command {
	c := &cobra.Command{
		Use: "top CONTAINER [ps OPTIONS]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("running", "paused"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			top, err := cl.ContainerTop(c.Context(), args[0], strings.Join(args[1:], " "))
			if err != nil {
				return err
			}
			var out bytes.Buffer
			w := tabwriter.NewWriter(&out, 20, 1, 3, ' ', 0)
			_, _ = fmt.Fprintln(w, strings.Join(top.Titles, "\t"))
			for _, p := range top.Processes {
				_, _ = fmt.Fprintln(w, strings.Join(p, "\t"))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			_, err = s.Out.Write(out.Bytes())
			return err
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}
