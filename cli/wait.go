package cli

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/client"
)

func waitCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "wait CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("running", "paused"),
		RunE: s.perContainer(func(cl *client.Client, c *cobra.Command, name string) (string, error) {
			result, err := cl.ContainerWait(c.Context(), name, "")
			if err != nil {
				return "", err
			}
			r, err := result()
			if err == nil && r.Error != nil && r.Error.Message != "" {
				err = errors.New(r.Error.Message)
			}
			return strconv.FormatInt(r.StatusCode, 10), err
		}),
	}
}
