package cli

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

func newCall(cmd *command) *call {
	c := &call{flags: flag.NewFlagSet(cmd.name, flag.ContinueOnError), whole: cmd.whole}
	c.flags.SetOutput(io.Discard)
	if cmd.flags != nil {
		cmd.flags(c)
	}
	return c
}

// parse reads flags and arguments in any order, as both runc and crun do; a command that is whole takes all that follows its first
// argument as it stands. A cluster of one-letter switches (-it) is taken apart; "--" ends the flags.
func (c *call) parse(args []string) error {
	for len(args) > 0 {
		s := args[0]
		switch {
		case s == "--":
			c.args = append(c.args, args[1:]...)
			return nil
		case len(s) < 2 || s[0] != '-':
			if c.whole {
				c.args = append(c.args, args...)
				return nil
			}
			c.args = append(c.args, s)
			args = args[1:]
			continue
		}
		used, err := c.parseFlag(args)
		if err != nil {
			return err
		}
		args = args[used:]
	}
	return nil
}

// parseFlag reads the flag at the head of args, and says how many words it was.
func (c *call) parseFlag(args []string) (used int, err error) {
	s := args[0]
	name, _, joined := strings.Cut(strings.TrimLeft(s, "-"), "=")
	if s[1] != '-' && len(name) > 1 && c.flags.Lookup(name) == nil && c.switches(s[1:]) {
		for _, r := range s[1:] {
			if err := c.flags.Parse([]string{"-" + string(r)}); err != nil {
				return 0, err
			}
		}
		return 1, nil
	}
	used = 1
	if !joined && c.takesValue(name) {
		if len(args) < 2 {
			return 0, fmt.Errorf("flag needs an argument: %s", s)
		}
		used = 2
	}
	return used, c.flags.Parse(args[:used])
}

func (c *call) switches(letters string) bool {
	for _, r := range letters {
		if c.flags.Lookup(string(r)) == nil || c.takesValue(string(r)) {
			return false
		}
	}
	return true
}

func (c *call) takesValue(name string) bool {
	f := c.flags.Lookup(name)
	if f == nil {
		return false
	}
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return !ok || !b.IsBoolFlag()
}
