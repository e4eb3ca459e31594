package cli

import (
	"context"
	"errors"
	"os"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/spec"
	"github.com/conex-containers/conex/cli/terminal"
	"github.com/conex-containers/conex/client"
)

type execOptions struct {
	req                       container.ExecCreateRequest
	interactive, tty, detach  bool
	env, envFile              spec.List
	user, workdir, detachKeys string
}

func execCommand(s *Session) *cobra.Command {
	var o execOptions
	c := &cobra.Command{
		Use: "exec [OPTIONS] CONTAINER COMMAND [ARG...]", Args: minArgs(2), ValidArgsFunction: s.completeContainers("running"),
		RunE: func(c *cobra.Command, args []string) error {
			o.req.Cmd = args[1:]
			return s.exec(c.Context(), &o, args[0])
		},
	}
	o.env.Check = spec.CheckEnv
	f := c.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.BoolVarP(&o.tty, "tty", "t", false, "Allocate a pseudo-TTY")
	f.BoolVarP(&o.detach, "detach", "d", false, "Detached mode: run command in the background")
	f.StringVarP(&o.user, "user", "u", "", `Username or UID (format: "<name|uid>[:<group|gid>]")`)
	f.StringVarP(&o.workdir, "workdir", "w", "", "Working directory inside the container")
	f.BoolVar(&o.req.Privileged, "privileged", false, "Give extended privileges to the command")
	f.VarP(&o.env, "env", "e", "Set environment variables")
	f.Var(&o.envFile, "env-file", "Read in a file of environment variables")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	return c
}

func (s *Session) exec(ctx context.Context, o *execOptions, name string) error {
	keys, err := s.detachKeys(o.detachKeys)
	if err != nil {
		return err
	}
	if o.req.Env, err = spec.ReadEnv(o.envFile.Values, o.env.Values, os.LookupEnv); err != nil {
		return err
	}
	r := &o.req
	r.User, r.WorkingDir, r.DetachKeys, r.Tty = o.user, o.workdir, o.detachKeys, o.tty
	if !o.detach {
		r.AttachStdin, r.AttachStdout, r.AttachStderr = o.interactive, true, true
		if err := s.needTerminal(o.interactive && o.tty); err != nil {
			return err
		}
	}
	if out := s.outTerminal(); o.tty && out != nil {
		h, w := terminal.Size(out)
		r.ConsoleSize = &[2]uint{uint(h), uint(w)}
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	id, err := cl.ExecCreate(ctx, name, *r)
	if err != nil {
		return err
	}
	if o.detach {
		return cl.ExecStart(ctx, id, container.ExecStartRequest{Detach: true, Tty: r.Tty, ConsoleSize: r.ConsoleSize})
	}
	return s.execAttached(ctx, cl, id, r, keys)
}

func (s *Session) execAttached(ctx context.Context, cl *client.Client, id string, r *container.ExecCreateRequest, keys []byte) error {
	a := attachment{
		id: id, tty: r.Tty, stdin: r.AttachStdin, stdout: true, stderr: true, keys: keys,
		resize: func(h, w uint16) error { return cl.ExecResize(ctx, id, h, w) },
	}
	signals := s.catchSignals(false)
	defer signals.stop()
	stream, err := cl.ExecAttach(ctx, id, container.ExecStartRequest{Tty: r.Tty, ConsoleSize: r.ConsoleSize})
	if err != nil {
		return &exitError{startCode(err), err}
	}
	a.stream = stream
	streams := s.pump(&a)
	s.followSize(&a)
	if err := <-streams; errors.Is(err, terminal.ErrDetached) {
		return nil
	} else if err != nil {
		return err
	}
	s.restore()
	doc, err := cl.ExecInspect(ctx, id)
	if err != nil {
		return err
	}
	if doc.ExitCode != nil && *doc.ExitCode != 0 {
		return &exitError{Code: *doc.ExitCode}
	}
	return nil
}
