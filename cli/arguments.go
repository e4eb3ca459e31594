package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// The checks of positional arguments, with Docker's texts.

func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return argError(c, "accepts no arguments")
}

func exactArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return argError(c, fmt.Sprintf("requires %d argument%s", n, plural(n)))
	}
}

func minArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return argError(c, fmt.Sprintf("requires at least %d argument%s", n, plural(n)))
	}
}

func maxArgs(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return argError(c, fmt.Sprintf("requires at most %d argument%s", n, plural(n)))
	}
}

func rangeArgs(lo, hi int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= lo && len(args) <= hi {
			return nil
		}
		return argError(c, fmt.Sprintf("requires at least %d and at most %d argument%s", lo, hi, plural(hi)))
	}
}

func argError(c *cobra.Command, what string) error {
	code := 1
	if c.Name() == "run" {
		code = exitEngine
	}
	return &exitError{code, fmt.Errorf("conex: '%s' %s\n\nUsage:  %s\n\nSee '%s --help'.", c.CommandPath(), what, c.UseLine(), c.CommandPath())}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
