package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/cli/spec"
	"github.com/conex-containers/conex/client"
)

func createCommand(s *Session) *cobra.Command {
	var o spec.Options
	quiet := false
	c := &cobra.Command{
		Use: "create [OPTIONS] IMAGE [COMMAND] [ARG...]", Args: minArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error {
			id := ""
			req, err := o.Request(args[0], args[1:])
			if err == nil {
				id, err = s.createContainer(c.Context(), &o, req, quiet)
			}
			var refused *client.Error
			switch {
			case err == nil:
				_, err = fmt.Fprintln(s.Out, id)
				return err
			case errors.As(err, &refused): // docker's exit codes: 1 when the engine refuses, 125 when the client does
				return err
			}
			return &exitError{exitEngine, fmt.Errorf("conex: %w\n\nSee 'conex create --help'.", err)}
		},
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&quiet, "quiet", "q", false, "Suppress the pull output")
	o.Flags(f)
	s.completeFlags(c)
	return c
}

// createContainer creates, pulling the image as --pull says, and writes the --cidfile.
func (s *Session) createContainer(ctx context.Context, o *spec.Options, req *container.CreateRequest, quiet bool) (string, error) {
	ref, refErr := parseReference(req.Image)
	cid, err := openCIDFile(o.CIDFile)
	if err != nil {
		return "", err
	}
	cl, err := s.Client()
	if err != nil {
		return "", errors.Join(err, cid.close(""))
	}
	created := ""
	defer func() { _ = cid.close(created) }()
	switch o.Pull {
	case "always":
		if refErr != nil {
			return "", refErr
		}
		if err := s.pull(ctx, ref, o.Platform, s.Err, quiet); err != nil {
			return "", err
		}
	case "missing", "never", "":
	default:
		return "", fmt.Errorf("invalid pull option: '%s': must be one of \"always\", \"missing\" or \"never\"", o.Pull)
	}
	res, err := cl.ContainerCreate(ctx, o.Name, o.Platform, req)
	if errdefs.IsNotFound(err) && refErr == nil && o.Pull == "missing" {
		if !quiet {
			_, _ = fmt.Fprintf(s.Err, "Unable to find image '%s' locally\n", ref.familiar()+ref.suffix())
		}
		if err := s.pull(ctx, ref, o.Platform, s.Err, quiet); err != nil {
			return "", err
		}
		res, err = cl.ContainerCreate(ctx, o.Name, o.Platform, req)
	}
	if err != nil {
		return "", err
	}
	for _, w := range res.Warnings {
		_, _ = fmt.Fprintln(s.Err, "WARNING: "+w)
	}
	created = res.ID
	return res.ID, nil
}

// cidFile is the file of --cidfile: made first, so that two runs cannot share it, and removed when nothing is created.
type cidFile struct{ f *os.File }

func openCIDFile(path string) (cidFile, error) {
	if path == "" {
		return cidFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return cidFile{}, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	}
	if err != nil {
		return cidFile{}, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return cidFile{f}, nil
}

func (c cidFile) close(id string) error {
	if c.f == nil {
		return nil
	}
	if id == "" {
		return errors.Join(c.f.Close(), os.Remove(c.f.Name()))
	}
	_, err := c.f.WriteString(id)
	return errors.Join(err, c.f.Close())
}
