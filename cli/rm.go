package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/client"
)

func rmCommand(s *Session) *cobra.Command {
	var o client.RemoveOptions
	c := &cobra.Command{Use: "rm [OPTIONS] CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers()}
	f := c.Flags()
	f.BoolVarP(&o.Force, "force", "f", false, "Force the removal of a running container (uses SIGKILL)")
	f.BoolVarP(&o.Volumes, "volumes", "v", false, "Remove anonymous volumes associated with the container")
	f.BoolVarP(&o.Link, "link", "l", false, "Remove the specified link")
	c.RunE = s.perContainer(func(cl *client.Client, c *cobra.Command, name string) (string, error) {
		if name = strings.Trim(name, "/"); name == "" {
			return "", errors.New("container name cannot be empty")
		}
		err := cl.ContainerRemove(c.Context(), name, o)
		if o.Force && errdefs.IsNotFound(err) {
			_, _ = s.Err.Write([]byte(err.Error() + "\n"))
			return "", nil
		}
		return name, err
	})
	return c
}

func renameCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "rename CONTAINER NEW_NAME", Args: exactArgs(2), ValidArgsFunction: s.completeContainers(),
		RunE: func(c *cobra.Command, args []string) error {
			from, to := strings.TrimSpace(args[0]), strings.TrimSpace(args[1])
			if from == "" || to == "" {
				return errors.New("Error: Neither old nor new names may be empty")
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return cl.ContainerRename(c.Context(), from, to)
		},
	}
}
