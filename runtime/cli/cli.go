// Package cli is the command line of conex-runtime: runc's commands, flags and messages over package container.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/runtime/container"
)

// Version of the runtime.
const Version = "0.1.0"

// DefaultRoot is where the states are.
const DefaultRoot = "/run/conex-runtime"

// memoryLimit is where the collector begins after all: a configuration may be large.
const memoryLimit = 64 << 20

// app is one call of the command line.
type app struct {
	name    string
	root    string
	systemd bool
	stdin   *os.File
	stdout  *os.File
	stderr  *os.File
}

// command is one word of the command line. It returns the exit code of the process that it waited for, or 0.
type command struct {
	usage string
	args  [2]int // fewest and most arguments, -1: any number
	about string
	run   func(a *app, ctx context.Context, c *call) (int, error)
	flags func(c *call)
}

// call is a command with its flags and arguments.
type call struct {
	flags *flag.FlagSet
	args  []string
	opt   options
}

// commands in the order of the help.
func commands() []struct {
	name string
	command
} {
	return []struct {
		name string
		command
	}{
		{"create", command{"ID", [2]int{1, 1}, "create a container", (*app).create, createFlags}},
		{"start", command{"ID", [2]int{1, 1}, "execute the user defined process in a created container", (*app).start, nil}},
		{"run", command{"ID", [2]int{1, 1}, "create and run a container", (*app).runContainer, runFlags}},
		{"exec", command{"ID COMMAND [ARG...]", [2]int{1, -1}, "execute a new process inside the container", (*app).exec, execFlags}},
		{"state", command{"ID", [2]int{1, 1}, "output the state of a container", (*app).state, nil}},
		{"kill", command{"ID [SIGNAL]", [2]int{1, 2}, "send a signal (default SIGTERM) to the container's init process", (*app).kill, killFlags}},
		{"delete", command{"ID", [2]int{1, 1}, "delete a container", (*app).delete, deleteFlags}},
		{"list", command{"", [2]int{0, 0}, "list containers", (*app).list, listFlags}},
		{"ps", command{"ID", [2]int{1, -1}, "display the processes in a container", (*app).ps, psFlags}},
		{"pause", command{"ID", [2]int{1, 1}, "suspend all processes inside the container", (*app).pause, nil}},
		{"resume", command{"ID", [2]int{1, 1}, "resume all processes that were paused", (*app).resume, nil}},
		{"update", command{"ID", [2]int{1, 1}, "update container resource constraints", (*app).update, updateFlags}},
		{"events", command{"ID", [2]int{1, 1}, "display container events and resource usage statistics", (*app).events, eventsFlags}},
		{"spec", command{"", [2]int{0, 0}, "create a new specification file", (*app).spec, specFlags}},
		{"features", command{"", [2]int{0, 0}, "show the enabled features", (*app).features, nil}},
	}
}

// Main runs the command line args (without the program's name) and returns the exit code.
func Main(args []string) int {
	// The program ends before a collection would pay; `run` in the foreground then only waits.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	a := &app{name: "conex-runtime", root: DefaultRoot, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
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

// globals reads the flags before the command; code >= 0 ends the program.
func (a *app) globals(args []string) (log *logFile, rest []string, code int) {
	log = &logFile{stderr: a.stderr}
	fs := flag.NewFlagSet(a.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&log.debug, "debug", false, "enable debug logging")
	fs.StringVar(&log.path, "log", "", "set the log file to write logs to (default is '/dev/stderr')")
	fs.StringVar(&log.format, "log-format", "text", "set the log format ('text' or 'json')")
	fs.StringVar(&log.level, "log-level", "", "set the log level (crun's flag)")
	fs.StringVar(&a.root, "root", DefaultRoot, "root directory for storage of container state")
	fs.BoolVar(&a.systemd, "systemd-cgroup", false, "enable systemd cgroup support")
	manager := fs.String("cgroup-manager", "", "cgroupfs or systemd (crun's flag)")
	_ = fs.String("rootless", "auto", "ignore cgroup permission errors ('true', 'false', or 'auto')")
	version := fs.Bool("version", false, "print the version")
	fs.BoolVar(version, "v", false, "print the version")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) || (err == nil && (fs.NArg() == 0 || fs.Arg(0) == "help") && !*version):
		a.help(a.stdout, fs)
		return nil, nil, 0
	case err != nil:
		_, _ = fmt.Fprintf(a.stderr, "%s: %v\n", a.name, err)
		return nil, nil, 1
	case *version:
		_, _ = fmt.Fprintf(a.stdout, "%s version %s\nspec: %s\ngo: %s\n", a.name, Version, specs.Version, runtime.Version())
		return nil, nil, 0
	}
	a.systemd = a.systemd || *manager == "systemd"
	return log, fs.Args(), -1
}

func (a *app) help(w io.Writer, fs *flag.FlagSet) {
	_, _ = fmt.Fprintf(w, "%s runs containers by the Open Container Initiative specification.\n\nUSAGE:\n   %s [global flags] COMMAND [flags] [args]\n\nCOMMANDS:\n", a.name, a.name)
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "   %-10s %s\n", c.name, c.about)
	}
	_, _ = fmt.Fprint(w, "\nGLOBAL FLAGS:\n")
	printFlags(w, fs)
}

func printFlags(w io.Writer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		dash := "--"
		if len(f.Name) == 1 {
			dash = "-"
		}
		_, _ = fmt.Fprintf(w, "   %-28s %s\n", dash+f.Name, f.Usage)
	})
}

// dispatch finds the command, reads its flags, and runs it.
func (a *app) dispatch(ctx context.Context, args []string) (int, error) {
	all := commands()
	i := slices.IndexFunc(all, func(c struct {
		name string
		command
	}) bool {
		return c.name == args[0]
	})
	if i < 0 {
		return 1, errdefs.InvalidArgument("no such command: %s (see %s --help)", args[0], a.name)
	}
	cmd := all[i]
	c := &call{flags: flag.NewFlagSet(cmd.name, flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	if cmd.flags != nil {
		cmd.flags(c)
	}
	if err := c.parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprintf(a.stdout, "USAGE:\n   %s %s [flags] %s\n\n%s\n\nFLAGS:\n", a.name, cmd.name, cmd.usage, cmd.about)
			printFlags(a.stdout, c.flags)
			return 0, nil
		}
		return 1, errdefs.InvalidArgument("%s: %w", cmd.name, err)
	}
	if n := len(c.args); n < cmd.args[0] || (cmd.args[1] >= 0 && n > cmd.args[1]) {
		return 1, errdefs.InvalidArgument("%s: %d arguments given: usage: %s %s [flags] %s", cmd.name, n, a.name, cmd.name, cmd.usage)
	}
	return cmd.run(a, ctx, c)
}

// parse reads flags up to the first argument, as runc does. A cluster of one-letter switches (-it) is taken apart.
func (c *call) parse(args []string) error {
	var flat []string
	for i, s := range args {
		if s == "--" || !strings.HasPrefix(s, "-") {
			flat = append(flat, args[i:]...)
			break
		}
		if len(s) > 2 && s[1] != '-' && c.flags.Lookup(strings.SplitN(s[1:], "=", 2)[0]) == nil && c.switches(s[1:]) {
			for _, r := range s[1:] {
				flat = append(flat, "-"+string(r))
			}
			continue
		}
		flat = append(flat, s)
		if name := strings.TrimLeft(s, "-"); !strings.Contains(name, "=") && c.takesValue(name) && i+1 < len(args) {
			flat = append(flat, args[i+1])
			return c.finish(append(flat, args[i+2:]...), args[i+2:], flat)
		}
	}
	return c.finish(flat, nil, nil)
}

// finish parses flat; when a flag with a separate value was met, what follows it may hold clusters again.
func (c *call) finish(flat, rest, head []string) error {
	if rest != nil {
		if err := c.flags.Parse(head); err != nil {
			return err
		}
		return c.parse(rest)
	}
	if err := c.flags.Parse(flat); err != nil {
		return err
	}
	c.args = c.flags.Args()
	return nil
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

// load finds the container of the first argument.
func (a *app) load(c *call) (*container.Container, error) { return container.Load(a.root, c.args[0]) }

// exitCode is the shell's convention for how a process ended.
func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
