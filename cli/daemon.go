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

// socketOf finds the first unix socket among conexd's flags.
func socketOf(args []string) string {
	for i, a := range args {
		v, ok := strings.CutPrefix(a, "--host=")
		if !ok && (a == "-H" || a == "--host") && i+1 < len(args) {
			v, ok = args[i+1], true
		}
		if !ok {
			v, ok = strings.CutPrefix(a, "-H=")
		}
		if path, unix := strings.CutPrefix(v, "unix://"); ok && unix && path != "" {
			return path
		}
	}
	return launch.Socket
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
