// Package cli is the command line of conex-runtime: runc's commands, flags and messages over package container.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/runtime/container"
	"github.com/conex-containers/conex/runtime/handshake"
)

// DefaultRoot is where the states are.
const DefaultRoot = "/run/conex-runtime"

// memoryLimit is where the collector begins after all: a configuration may be large.
const memoryLimit = 64 << 20

// app is one call of the command line.
type app struct {
	name     string // the program's name as it was called: a link "runc" to it speaks of runc
	version  string
	root     string
	rootSet  bool
	systemd  bool
	noGroups bool  // --cgroup-manager=disabled
	rootless *bool // --rootless, nil: find out
	second   bool  // this is the program's second beginning, as root of a user namespace
	manner   manner
	stdin    *os.File
	stdout   *os.File
	stderr   *os.File
}

// command is one word of the command line. It returns the exit code of the process that it waited for, or 0.
type command struct {
	name  string
	usage string
	args  [2]int // fewest and most arguments, -1: any number
	about string
	run   func(a *app, ctx context.Context, c *call) (int, error)
	flags func(c *call)
	// whole ends the flags at the first argument: what follows is another program's, or a signal.
	whole bool
}

// call is a command with its flags and arguments.
type call struct {
	flags *flag.FlagSet
	whole bool
	args  []string
	opt   options
}

// commands in the order of the help.
func commands() []command {
	return []command{
		{"create", "ID", [2]int{1, 1}, "create a container", (*app).create, createFlags, false},
		{"start", "ID", [2]int{1, 1}, "execute the user defined process in a created container", (*app).start, nil, false},
		{"run", "ID", [2]int{1, 1}, "create and run a container", (*app).runContainer, runFlags, false},
		{"exec", "ID COMMAND [ARG...]", [2]int{1, -1}, "execute a new process inside the container", (*app).exec, execFlags, true},
		{"state", "ID", [2]int{1, 1}, "output the state of a container", (*app).state, nil, false},
		{"kill", "ID [SIGNAL]", [2]int{1, 2}, "send a signal (default SIGTERM) to the container's init process", (*app).kill, killFlags, true},
		{"delete", "ID", [2]int{1, 1}, "delete a container", (*app).delete, deleteFlags, false},
		{"list", "", [2]int{0, 0}, "list containers", (*app).list, listFlags, false},
		{"ps", "ID [PS-OPTION...]", [2]int{1, -1}, "display the processes in a container", (*app).ps, psFlags, true},
		{"pause", "ID", [2]int{1, 1}, "suspend all processes inside the container", (*app).pause, nil, false},
		{"resume", "ID", [2]int{1, 1}, "resume all processes that were paused", (*app).resume, nil, false},
		{"update", "ID", [2]int{1, 1}, "update container resource constraints", (*app).update, updateFlags, false},
		{"checkpoint", "ID", [2]int{1, 1}, "checkpoint a running container", (*app).checkpoint, checkpointFlags, false},
		{"restore", "ID", [2]int{1, 1}, "restore a container from a previous checkpoint", (*app).restore, restoreFlags, false},
		{"events", "ID", [2]int{1, 1}, "display container events and resource usage statistics", (*app).events, eventsFlags, false},
		{"mounts", "add|remove ID FILE|-|JSON", [2]int{3, 3}, "mount into a running container, or take such mounts away", (*app).mounts, nil, false},
		{"spec", "", [2]int{0, 0}, "create a new specification file", (*app).spec, specFlags, false},
		{"features", "", [2]int{0, 0}, "show the enabled features", (*app).features, nil, false},
	}
}

// Main runs the command line args (without the program's name) and returns the exit code. The version is the
// product's, as the Makefile sets it for all binaries; "" is a build without.
func Main(args []string, version string) int {
	// The program ends before a collection would pay; `run` in the foreground then only waits.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	a := &app{name: filepath.Base(os.Args[0]), version: version, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, second: second()}
	a.manner = mannerOf(a.name)
	log, rest, code := a.globals(args)
	if code >= 0 {
		return code
	}
	ctx, err := log.open()
	if err != nil {
		_, _ = fmt.Fprintln(a.stderr, err)
		return 1
	}
	code, err = a.dispatch(ctx, rest)
	if err != nil {
		if step := unstarted(err); step != nil && log.path == "" && log.format != "json" {
			_, _ = fmt.Fprintln(a.stderr, step) // the program's own affair, as a shell would say it
			return max(code, 1)
		}
		logging.From(ctx).Error(err.Error())
		if log.path != "" {
			_, _ = fmt.Fprintln(a.stderr, err) // the log is a file: whoever called sees it too
		}
		if code == 0 {
			code = 1
		}
	}
	return code
}

// dispatch finds the command, reads its flags, and runs it.
func (a *app) dispatch(ctx context.Context, args []string) (int, error) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return 3, errdefs.InvalidArgument("No help topic for '%s'", args[0])
	}
	cmd := &all[i]
	c := newCall(cmd)
	if err := c.parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			a.commandHelp(cmd, c)
			return 0, nil
		}
		return 1, errdefs.InvalidArgument("%s: Incorrect Usage: %w", cmd.name, err)
	}
	if err := a.checkArgs(cmd, len(c.args)); err != nil {
		_, _ = fmt.Fprint(a.stdout, "Incorrect Usage.\n\n")
		a.commandHelp(cmd, c)
		return 1, err
	}
	if cmd.args[0] > 0 && c.args[0] == "" {
		return 1, errdefs.InvalidArgument("container id cannot be empty")
	}
	if os.Geteuid() != 0 && slices.Contains(insiders, cmd.name) {
		return a.again(ctx, cmd, c)
	}
	return cmd.run(a, ctx, c)
}

// unstarted is the error of an execve(2) inside the container that failed, or nil.
func unstarted(err error) *handshake.Error {
	var step *handshake.Error
	if errors.As(err, &step) && step.Step == handshake.StepExec {
		return step
	}
	return nil
}

// checkArgs speaks of a wrong number of arguments in runc's words.
func (a *app) checkArgs(cmd *command, n int) error {
	low, high := cmd.args[0], cmd.args[1]
	switch {
	case low == high && n != low:
		return errdefs.InvalidArgument("%s: %q requires exactly %d argument(s)", a.name, cmd.name, low)
	case n < low:
		return errdefs.InvalidArgument("%s: %q requires a minimum of %d argument(s)", a.name, cmd.name, low)
	case high >= 0 && n > high:
		return errdefs.InvalidArgument("%s: %q requires a maximum of %d argument(s)", a.name, cmd.name, high)
	}
	return nil
}

// load finds the container of the first argument.
func (a *app) load(c *call) (*container.Container, error) {
	made, err := container.Load(a.root, c.args[0])
	if err == nil {
		made.SetManner(a.manner.Manner)
	}
	return made, err
}

// exitCode is the shell's convention for how a process ended.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
