package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// globals reads the flags before the command; code >= 0 ends the program.
func (a *app) globals(args []string) (log *logFile, rest []string, code int) {
	log = &logFile{stderr: a.stderr, runc: a.name == asRunc}
	fs := flag.NewFlagSet(a.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.BoolVar(&log.debug, "debug", false, "enable debug logging")
	fs.StringVar(&log.path, "log", "", "set the log file to write logs to (default is '/dev/stderr')")
	fs.StringVar(&log.format, "log-format", "text", "set the log format ('text' or 'json')")
	fs.StringVar(&log.level, "log-level", "", "set the log level: error, warning, info or debug (crun's flag)")
	fs.StringVar(&a.root, "root", DefaultRoot, "root directory for storage of container state (this should be located in tmpfs)")
	fs.BoolVar(&a.systemd, "systemd-cgroup", false, `let systemd make the control groups; expects cgroupsPath "slice:prefix:name"`)
	manager := fs.String("cgroup-manager", "", "cgroupfs, systemd or disabled (crun's flag)")
	rootless := fs.String("rootless", "auto", "ignore cgroup permission errors ('true', 'false', or 'auto')")
	version := fs.Bool("version", false, "print the version")
	fs.BoolVar(version, "v", false, "print the version")
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) || (err == nil && (fs.NArg() == 0 || fs.Arg(0) == "help") && !*version):
		a.help(a.stdout, fs)
		return nil, nil, 0
	case err != nil:
		_, _ = fmt.Fprintf(a.stderr, "Incorrect Usage: %v (see %s --help)\n", err, a.name)
		return nil, nil, 1
	case *version:
		a.printVersion()
		return nil, nil, 0
	}
	fs.Visit(func(f *flag.Flag) { a.rootSet = a.rootSet || f.Name == "root" })
	if err := errors.Join(a.chooseManager(*manager), a.chooseRoot(), a.chooseRootless(*rootless)); err != nil {
		_, _ = fmt.Fprintln(a.stderr, err)
		return nil, nil, 1
	}
	return log, fs.Args(), -1
}

func (a *app) chooseManager(name string) error {
	switch name {
	case "", "cgroupfs":
	case "systemd":
		a.systemd = true
	case "disabled":
		a.noGroups = true
	default:
		return errdefs.InvalidArgument("unknown cgroup manager specified: %s", name)
	}
	return nil
}

// chooseRoot makes --root absolute. Without the flag a user's own containers are in the user's own directory, which
// is sticky so that nobody cleans it up (XDG Base Directory Specification).
func (a *app) chooseRoot() error {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); !a.rootSet && dir != "" && a.unprivileged() {
		a.root = filepath.Join(dir, filepath.Base(DefaultRoot))
		if err := os.MkdirAll(a.root, 0o700); err != nil {
			return fmt.Errorf("the path in $XDG_RUNTIME_DIR must be writable by the user: %w", err)
		}
		return os.Chmod(a.root, 0o700|os.ModeSticky)
	}
	root, err := filepath.Abs(a.root)
	if err != nil {
		return err
	}
	if root == "/" {
		return errdefs.InvalidArgument("Option --root argument should not be set to /")
	}
	a.root = root
	return nil
}

func (a *app) chooseRootless(s string) error {
	if s == "" || strings.EqualFold(s, "auto") {
		lenient := a.unprivileged()
		a.rootless = &lenient
		return nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errdefs.InvalidArgument("--rootless: %w", err)
	}
	a.rootless = &b
	return nil
}
