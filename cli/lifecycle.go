package cli

import (
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/client"
)

func stopCommand(s *Session) *cobra.Command {
	return stopLike(s, "stop", func(cl *client.Client, c *cobra.Command, name, signal string, t *int) error {
		return cl.ContainerStop(c.Context(), name, signal, t)
	})
}

func restartCommand(s *Session) *cobra.Command {
	return stopLike(s, "restart", func(cl *client.Client, c *cobra.Command, name, signal string, t *int) error {
		return cl.ContainerRestart(c.Context(), name, signal, t)
	})
}

func stopLike(s *Session, verb string, do func(*client.Client, *cobra.Command, string, string, *int) error) *cobra.Command {
	var signal string
	var timeout int
	c := &cobra.Command{Use: verb + " [OPTIONS] CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("running", "paused")}
	f := c.Flags()
	f.StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	f.IntVarP(&timeout, "timeout", "t", 0, "Seconds to wait before killing the container")
	f.IntVar(&timeout, "time", 0, "Seconds to wait before killing the container")
	_ = f.MarkHidden("time")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := s.Client()
		if err != nil {
			return err
		}
		var t *int
		if f.Changed("timeout") || f.Changed("time") {
			t = &timeout
		}
		return s.each(args, func(name string) (string, error) { return name, do(cl, c, name, signal, t) })
	}
	return c
}

func killCommand(s *Session) *cobra.Command {
	var signal string
	c := &cobra.Command{
		Use: "kill [OPTIONS] CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("running", "paused"),
		RunE: s.perContainer(func(cl *client.Client, c *cobra.Command, name string) (string, error) {
			return name, cl.ContainerKill(c.Context(), name, signal)
		}),
	}
	c.Flags().StringVarP(&signal, "signal", "s", "", "Signal to send to the container")
	return c
}

func pauseCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "pause CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("running"),
		RunE: s.perContainer(func(cl *client.Client, c *cobra.Command, name string) (string, error) {
			return name, cl.ContainerPause(c.Context(), name)
		}),
	}
}

func unpauseCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "unpause CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("paused"),
		RunE: s.perContainer(func(cl *client.Client, c *cobra.Command, name string) (string, error) {
			return name, cl.ContainerUnpause(c.Context(), name)
		}),
	}
}

// perContainer makes a RunE that treats every argument alike.
func (s *Session) perContainer(do func(*client.Client, *cobra.Command, string) (string, error)) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cl, err := s.Client()
		if err != nil {
			return err
		}
		return s.each(args, func(name string) (string, error) { return do(cl, c, name) })
	}
}
