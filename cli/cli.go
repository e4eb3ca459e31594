// Package cli is the command line `conex`: Docker's verbs and flags over the Engine API, one file per command.
//
// A call builds only the command that it names (cobra and the 100 flags of `run` are not free), connects when the
// first request is made, and starts the engine when nothing answers at the default address.
//
//	Main ─▶ global flags ─▶ look the command up (table.go) ─▶ build it ─▶ cobra parses ─▶ Session.Client ─▶ engine
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/base/suggest"
)

// Exit codes of their own, as Docker's: the engine or conex failed, the command cannot be invoked, is not found.
const (
	exitEngine       = 125
	exitNotInvokable = 126
	exitNotFound     = 127
)

// exitError ends the program with a code. Err, when not nil, is printed.
type exitError struct {
	Code int
	Err  error
}

func (e *exitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *exitError) Unwrap() error { return e.Err }

// Main runs one command line (without the program's name) and returns the exit code.
func Main(ctx context.Context, args []string, version string, in io.Reader, out, errOut io.Writer) (code int) {
	s := &Session{Version: version, In: in, Out: out, Err: errOut, Getenv: os.Getenv}
	defer s.close() // also restores the terminal when something panics
	err := s.run(ctx, args)
	s.restore()
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if exit.Err != nil {
			_, _ = fmt.Fprintln(errOut, exit.Err)
		}
		return exit.Code
	case errors.Is(err, context.Canceled):
		return 130
	}
	_, _ = fmt.Fprintln(errOut, err)
	return 1
}

// run finds the command and lets cobra do the rest.
func (s *Session) run(ctx context.Context, args []string) error {
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		return s.complete(ctx, args)
	}
	flags := s.globalFlags()
	if err := flags.Parse(args); err != nil {
		return s.flagError("conex", flags, err, "conex [OPTIONS] COMMAND")
	}
	rest := flags.Args()
	switch {
	case s.global.version:
		_, err := fmt.Fprintf(s.Out, "Conex version %s, build %s\n", s.Version, commit())
		return err
	case len(rest) > 0 && rest[0] == "help":
		rest = append(rest[1:], "--help")
	}
	if len(rest) == 0 || rest[0] == "--help" || s.global.help && len(rest) == 0 {
		return s.rootHelp(s.Out)
	}
	if s.global.help {
		rest = append(rest, "--help")
	}
	return s.dispatch(ctx, rest)
}

// dispatch builds the command that rest begins with, and its group, and nothing else.
func (s *Session) dispatch(ctx context.Context, rest []string) error {
	e, ok := find(table(), rest[0])
	if !ok {
		return unknownCommand("conex", rest[0], table())
	}
	root := newRoot()
	parent := root
	if e.group != nil {
		children := e.group()
		if len(rest) == 1 || rest[1] == "--help" || rest[1] == "-h" {
			return s.groupHelp(s.Out, e)
		}
		child, ok := find(children, rest[1])
		if !ok {
			return unknownCommand("conex "+e.name, rest[1], children)
		}
		parent = &cobra.Command{Use: e.name}
		root.AddCommand(parent)
		e = child
	}
	parent.AddCommand(s.build(e))
	root.SetArgs(rest)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	return root.ExecuteContext(ctx)
}

func newRoot() *cobra.Command {
	return &cobra.Command{
		Use: "conex", SilenceErrors: true, SilenceUsage: true, DisableAutoGenTag: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
}

// build makes the cobra command of an entry, with the help, errors and --help of this program.
func (s *Session) build(e entry) *cobra.Command {
	c := e.build(s)
	c.Short, c.Aliases, c.Hidden = e.short, e.aliases, e.hidden
	_, rest, _ := strings.Cut(c.Use, " ")
	c.Use = strings.TrimSpace(e.name + " " + rest) // ps is also container ls
	if c.Flags().Lookup("help") == nil {
		short := "h"
		if c.Flags().ShorthandLookup("h") != nil {
			short = ""
		}
		c.Flags().BoolP("help", short, false, "Print usage")
	}
	c.DisableFlagsInUseLine = true
	c.SetHelpFunc(func(c *cobra.Command, _ []string) { commandHelp(s.Out, c, e) })
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return s.flagError(c.CommandPath(), c.Flags(), err, c.UseLine())
	})
	return c
}

// flagError is what a bad flag looks like: what is wrong, what was probably meant, and where to read on.
func (s *Session) flagError(path string, flags *pflag.FlagSet, err error, use string) error {
	text := err.Error()
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		if near := suggest.Nearest(unknown.GetSpecifiedName(), flagNames(flags)); near != "" {
			text += ": did you mean --" + near + "?"
		}
	}
	return &exitError{exitEngine, fmt.Errorf("%s\n\nUsage:  %s\n\nSee '%s --help'.", text, use, path)}
}

func flagNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

func unknownCommand(path, name string, among []entry) error {
	text := fmt.Sprintf("conex: unknown command: %s %s\n", path, name)
	var names []string
	for _, e := range among {
		names = append(append(names, e.name), e.aliases...)
	}
	if near := suggest.Nearest(name, names); near != "" {
		text += fmt.Sprintf("\nDid you mean '%s %s'?\n", path, near)
	}
	return &exitError{1, fmt.Errorf("%s\nSee '%s --help'.", text, path)}
}
