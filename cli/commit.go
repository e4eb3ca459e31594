package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/spec"
)

func commitCommand(s *Session) *cobra.Command {
	o := docker.Commit{Pause: true}
	var changes spec.List
	var noPause bool
	c := &cobra.Command{
		Use: "commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]", Args: rangeArgs(1, 2), ValidArgsFunction: s.completeContainers(),
		Example: "  conex commit -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' web shop/web:2",
		RunE: func(c *cobra.Command, args []string) error {
			o.Changes, o.Pause = changes.Values, o.Pause && !noPause
			repo, tag := "", ""
			if len(args) == 2 {
				ref, err := parseReference(args[1])
				if err != nil {
					return err
				}
				repo, tag = ref.familiar(), ref.tagOrDigest()
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			id, err := cl.ContainerCommit(c.Context(), args[0], repo, tag, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.Out, id)
			return err
		},
	}
	f := c.Flags()
	f.StringVarP(&o.Author, "author", "a", "", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`)
	f.VarP(&changes, "change", "c", "Apply Dockerfile instruction to the created image")
	f.StringVarP(&o.Comment, "message", "m", "", "Commit message")
	f.BoolVarP(&o.Pause, "pause", "p", true, "Pause container during commit")
	f.BoolVar(&noPause, "no-pause", false, "Do not pause container during commit")
	return c
}

func exportCommand(s *Session) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "export [OPTIONS] CONTAINER", Args: rangeArgs(1, 1), ValidArgsFunction: s.completeContainers(),
		RunE: func(c *cobra.Command, args []string) error { return s.export(c.Context(), args[0], output) },
	}
	c.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	return c
}

func (s *Session) export(ctx context.Context, ref, output string) error {
	if output == "" && s.outTerminal() != nil {
		return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	body, err := cl.ContainerExport(ctx, ref)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if output == "" {
		_, err = io.Copy(s.Out, body)
		return err
	}
	return writeWhole(output, body)
}
