package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/terminal"
)

type startOptions struct {
	attach, interactive bool
	detachKeys          string
}

func startCommand(s *Session) *cobra.Command {
	var o startOptions
	c := &cobra.Command{
		Use: "start [OPTIONS] CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers("created", "exited"),
		RunE: func(c *cobra.Command, args []string) error {
			if o.attach || o.interactive {
				if len(args) > 1 {
					return errors.New("you cannot start and attach multiple containers at once")
				}
				return s.startForeground(c.Context(), &o, args[0])
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			err = s.each(args, func(name string) (string, error) { return name, cl.ContainerStart(c.Context(), name) })
			if err != nil {
				return &exitError{1, fmt.Errorf("%w\nError: failed to start containers: %s", err, strings.Join(failed(err), ", "))}
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.attach, "attach", "a", false, "Attach STDOUT/STDERR and forward signals")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "Attach container's STDIN")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	return c
}

// startForeground is `start -a` and `start -i`.
func (s *Session) startForeground(ctx context.Context, o *startOptions, name string) error {
	cl, doc, a, err := s.openAttachment(ctx, name, o.detachKeys)
	if err != nil {
		return err
	}
	a.stdin = o.interactive && doc.Config.OpenStdin
	cond := container.WaitConditionNextExit
	if doc.HostConfig != nil && doc.HostConfig.AutoRemove {
		cond = container.WaitConditionRemoved
	}
	signals := s.catchSignals(!a.tty)
	defer signals.stop()
	wait, err := s.attachAndWait(ctx, cl, &a, docker.AttachOptions{
		Stdin: a.stdin, Stdout: true, Stderr: true, Stream: true, DetachKeys: o.detachKeys,
	}, cond)
	if err != nil {
		return err
	}
	exit := make(chan waited, 1)
	go func() { r, err := wait(); exit <- waited{r, err} }()
	streams := s.pump(&a)
	if err := cl.ContainerStart(ctx, doc.ID); err != nil {
		_ = a.stream.Close()
		return err
	}
	s.followSize(&a)
	signals.forward(func(sig string) { _ = cl.ContainerKill(ctx, doc.ID, sig) })
	if err := <-streams; errors.Is(err, terminal.ErrDetached) {
		return nil
	} else if err != nil {
		return err
	}
	return s.ended(ctx, cl, doc.ID, <-exit).err()
}
