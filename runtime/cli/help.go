package cli

import (
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// help prints in the form of runc's, whose first lines some programs look at.
func (a *app) help(w io.Writer, fs *flag.FlagSet) {
	if a.name == asCrun {
		_, _ = fmt.Fprintln(w, crunUsage(""))
	}
	_, _ = fmt.Fprintf(w, "NAME:\n   %s - Open Container Initiative runtime\n\nUSAGE:\n   %s [global options] COMMAND [command options] [arguments...]\n\nCOMMANDS:\n",
		a.name, a.name)
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "   %-10s %s\n", c.name, c.about)
	}
	_, _ = fmt.Fprint(w, "\nGLOBAL OPTIONS:\n")
	printFlags(w, fs)
}

func (a *app) commandHelp(cmd *command, c *call) {
	if a.name == asCrun {
		_, _ = fmt.Fprintln(a.stdout, crunUsage(cmd.name))
	}
	_, _ = fmt.Fprintf(a.stdout, "NAME:\n   %s %s - %s\n\nUSAGE:\n   %s %s [command options] %s\n\nOPTIONS:\n", a.name, cmd.name, cmd.about, a.name, cmd.name, cmd.usage)
	printFlags(a.stdout, c.flags)
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

// printVersion prints runc's lines: docker, podman and cadvisor take the words apart.
func (a *app) printVersion() {
	number, commit := splitVersion(a.version)
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	_, _ = fmt.Fprintf(a.stdout, "%s version %s\n", a.name, number)
	if commit != "" {
		_, _ = fmt.Fprintf(a.stdout, "commit: %s\n", commit)
	}
	_, _ = fmt.Fprintf(a.stdout, "spec: %s\ngo: %s\n", specs.Version, runtime.Version())
	if a.name == asCrun {
		_, _ = fmt.Fprintln(a.stdout, crunFeatures)
	}
}

// development is the number of a build that no tag has given one.
const development = "0.1.0-dev"

// splitVersion takes what `git describe --tags --always` said ("v1.2.3", "v1.2.3-5-gabcdef0", "abcdef0") for a number and a commit.
func splitVersion(described string) (number, commit string) {
	number = strings.TrimPrefix(described, "v")
	if i := strings.LastIndex(number, "-g"); i > 0 {
		return number, number[i+2:]
	}
	switch {
	case number == "" || number == "dev":
		return development, ""
	case !strings.Contains(number, "."):
		return development, number
	}
	return number, ""
}
