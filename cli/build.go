package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// buildCommand says that there is no builder yet, instead of being unknown.
func buildCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "build", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("conex build is not there yet in version " + s.Version + ": build the image elsewhere, and bring it here with 'conex load' or 'conex pull'")
		},
	}
}
