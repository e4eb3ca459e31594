package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/terminal"
)

type attachOptions struct {
	noStdin, sigProxy bool
	detachKeys        string
}

func attachCommand(s *Session) *cobra.Command {
	var o attachOptions
	c := &cobra.Command{
		Use: "attach [OPTIONS] CONTAINER", Args: exactArgs(1), ValidArgsFunction: s.completeContainers("running"),
		RunE: func(c *cobra.Command, args []string) error { return s.attach(c.Context(), &o, args[0]) },
	}
	f := c.Flags()
	f.BoolVar(&o.noStdin, "no-stdin", false, "Do not attach STDIN")
	f.BoolVar(&o.sigProxy, "sig-proxy", true, "Proxy all received signals to the process")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	return c
}

func (s *Session) attach(ctx context.Context, o *attachOptions, name string) error {
	cl, doc, a, err := s.openAttachment(ctx, name, o.detachKeys)
	if err != nil {
		return err
	}
	switch {
	case !doc.State.Running:
		return errors.New("cannot attach to a stopped container, start it first")
	case doc.State.Paused:
		return errors.New("cannot attach to a paused container, unpause it first")
	case doc.State.Restarting:
		return errors.New("cannot attach to a restarting container, wait until it is running")
	}
	a.stdin = !o.noStdin && doc.Config.OpenStdin
	if err := s.needTerminal(a.stdin && a.tty); err != nil {
		return err
	}
	signals := s.catchSignals(o.sigProxy && !a.tty)
	defer signals.stop()
	wait, err := s.attachAndWait(ctx, cl, &a, docker.AttachOptions{
		Stdin: a.stdin, Stdout: true, Stderr: true, Stream: true, DetachKeys: o.detachKeys,
	}, container.WaitConditionNotRunning)
	if err != nil {
		return err
	}
	streams := s.pump(&a)
	s.followSize(&a)
	signals.forward(func(sig string) { _ = cl.ContainerKill(ctx, doc.ID, sig) })
	if err := <-streams; err != nil {
		s.restore()
		if errors.Is(err, terminal.ErrDetached) {
			return &exitError{1, fmt.Errorf("%w", err)}
		}
		return err
	}
	r, err := wait()
	return waited{r, err}.err()
}
