package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/cli/launch"
)

// stopBound is how long `daemon stop` waits: an engine ends its requests in flight, its containers go on.
const stopBound = 30 * time.Second

func daemonStartCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "start [CONEXD FLAGS...]", DisableFlagParsing: true,
		Long: "The flags are conexd's own (dockerd's): see 'conexd --help'. Without flags the engine opens " + launch.Socket + ".",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
				return c.Help()
			}
			if os.Geteuid() != 0 {
				return errors.New("starting the engine needs root: run 'sudo conex daemon start'")
			}
			program, err := launch.Find()
			if err != nil {
				return err
			}
			if hosts := s.global.hosts; len(hosts) > 0 && !names(args, "-H", "--host") { // conex -H ADDRESS daemon start
				args = append([]string{"--host=" + hosts[0]}, args...)
			}
			socket := socketOf(args)
			if pid, _ := launch.PID(socket); pid != 0 {
				return fmt.Errorf("an engine (pid %d) answers at unix://%s already: stop it first with 'conex daemon stop'", pid, socket)
			}
			log := filepath.Join(filepath.Dir(socket), filepath.Base(launch.Log))
			pid, err := launch.Start(c.Context(), launch.Engine{Program: program, Args: args, Socket: socket, Log: log})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "the engine runs (conexd, pid %d, unix://%s, log %s)\n", pid, socket, log)
			return err
		},
	}
}

// socketOf is where conexd with these flags will answer: its first unix socket, else the one in its run directory.
func socketOf(args []string) string {
	for _, v := range values(args, "-H", "--host") {
		if path, unix := strings.CutPrefix(v, "unix://"); unix && path != "" {
			return path
		}
	}
	if dirs := values(args, "--exec-root"); len(dirs) > 0 {
		return filepath.Join(dirs[len(dirs)-1], filepath.Base(launch.Socket))
	}
	return launch.Socket
}

// names reports whether one of the flags is among conexd's arguments.
func names(args []string, flags ...string) bool { return len(values(args, flags...)) > 0 }

// values lists what conexd's arguments give to a flag of these names, in pflag's forms: --flag VALUE, --flag=VALUE,
// -f VALUE, -f=VALUE, -fVALUE.
func values(args []string, flags ...string) []string {
	var out []string
	for i, a := range args {
		for _, flag := range flags {
			rest, ok := strings.CutPrefix(a, flag)
			switch {
			case !ok:
			case rest == "" && i+1 < len(args):
				out = append(out, args[i+1])
			case strings.HasPrefix(rest, "="):
				out = append(out, rest[1:])
			case rest != "" && !strings.HasPrefix(flag, "--"):
				out = append(out, rest)
			}
		}
	}
	return out
}

// daemonSocket is the unix socket that the global flags name.
func (s *Session) daemonSocket() (string, error) {
	host, _, err := s.host()
	if err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		return "", fmt.Errorf("%s is not a unix socket: an engine elsewhere is managed there", host)
	}
	return path, nil
}

func daemonStopCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "stop", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			socket, err := s.daemonSocket()
			if err != nil {
				return err
			}
			pid, err := launch.Stop(c.Context(), socket, stopBound)
			if errdefs.IsNotFound(err) {
				_, err = fmt.Fprintf(s.Out, "no engine runs at unix://%s\n", socket)
				return err
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "the engine (pid %d) has ended; its containers go on\n", pid)
			return err
		},
	}
}

func daemonStatusCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "status", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			socket, err := s.daemonSocket()
			if err != nil {
				return err
			}
			pid, err := launch.PID(socket)
			if err != nil {
				return err
			}
			if pid == 0 {
				_, _ = fmt.Fprintf(s.Out, "no engine runs at unix://%s\n", socket)
				return &exitError{Code: 3} // as LSB init scripts say "not running"
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			v, err := cl.ServerVersion(c.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.Out, "the engine runs (pid %d, version %s, API %s, unix://%s)\n", pid, v.Version, v.APIVersion, socket)
			return err
		},
	}
}
