package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
)

func rmiCommand(s *Session) *cobra.Command {
	var force, noPrune bool
	var platforms []string
	c := &cobra.Command{
		Use: "rmi [OPTIONS] IMAGE [IMAGE...]", Args: minArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args { // in order: removing one may untag the next
				list, err := cl.ImageRemove(c.Context(), name, platforms, force, noPrune)
				if force && errdefs.IsNotFound(err) {
					_, _ = fmt.Fprintln(s.Err, err)
					continue
				}
				if err != nil {
					errs = append(errs, err)
				}
				for _, r := range list {
					if r.Untagged != "" {
						_, _ = fmt.Fprintln(s.Out, "Untagged:", r.Untagged)
					}
					if r.Deleted != "" {
						_, _ = fmt.Fprintln(s.Out, "Deleted:", r.Deleted)
					}
				}
			}
			return errors.Join(errs...)
		},
	}
	f := c.Flags()
	f.BoolVarP(&force, "force", "f", false, "Force removal of the image")
	f.StringSliceVar(&platforms, "platform", nil, "Remove only the given platform variant, and keep the others. Formatted as "+platformForm)
	f.BoolVar(&noPrune, "no-prune", false, "Do not delete untagged parents")
	return c
}
