package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// unserved makes a command of Docker's that Conex does not have yet: it says so instead of being unknown.
func unserved(name string) func(*Session) *cobra.Command {
	return func(s *Session) *cobra.Command {
		return &cobra.Command{
			Use: name, DisableFlagParsing: true,
			RunE: func(*cobra.Command, []string) error {
				return fmt.Errorf("conex %s is not there yet in version %s", name, s.Version)
			},
		}
	}
}

func buildCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "build", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("conex build is not there yet in version " + s.Version + ": build the image elsewhere, and bring it here with 'conex load' or 'conex pull'")
		},
	}
}
