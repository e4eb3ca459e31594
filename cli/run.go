package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/launch"
	"github.com/conex-containers/conex/cli/spec"
	"github.com/conex-containers/conex/cli/terminal"
	"github.com/conex-containers/conex/client"
)

const runExamples = `  conex run hello                                 # the image that conex brings along
  conex run -it --rm debian bash                  # a shell, gone when it ends
  conex run -d --name web -p 8080:80 -v .:/usr/share/nginx/html nginx:1.25
  conex run --rm -m 512m --cpus 1.5 --network none busybox true
`

// runOptions are the flags of `run` that are not the container's.
type runOptions struct {
	spec.Options
	detach, sigProxy, quiet bool
	detachKeys              string
}

func runCommand(s *Session) *cobra.Command {
	var o runOptions
	c := &cobra.Command{
		Use: "run [OPTIONS] IMAGE [COMMAND] [ARG...]", Args: minArgs(1), ValidArgsFunction: s.completeImages,
		RunE: func(c *cobra.Command, args []string) error { return s.runContainer(c.Context(), &o, args) },
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.BoolVarP(&o.detach, "detach", "d", false, "Run container in background and print container ID")
	f.BoolVar(&o.sigProxy, "sig-proxy", true, "Proxy received signals to the process")
	f.StringVar(&o.detachKeys, "detach-keys", "", "Override the key sequence for detaching a container")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Suppress the pull output")
	o.Flags(f)
	s.completeFlags(c)
	return c
}

// runContainer is `run`: create, attach and wait on connections of their own, start, and then live with the container.
func (s *Session) runContainer(ctx context.Context, o *runOptions, args []string) error {
	req, err := o.Request(args[0], args[1:])
	if err != nil {
		return runError(err, exitEngine)
	}
	keys, err := s.detachKeys(o.detachKeys)
	if err != nil {
		return runError(err, exitEngine)
	}
	if o.detach {
		if len(o.Attach.Values) > 0 {
			return runError(errors.New("conflicting options: cannot specify both --attach and --detach"), exitEngine)
		}
		cfg := req.Config
		cfg.AttachStdin, cfg.AttachStdout, cfg.AttachStderr, cfg.StdinOnce = false, false, false, false
	} else if err := s.needTerminal(o.Interactive && o.TTY); err != nil {
		return runError(err, exitEngine)
	}
	if out := s.outTerminal(); out != nil {
		h, w := terminal.Size(out)
		req.HostConfig.ConsoleSize = [2]uint{uint(h), uint(w)}
	}
	id, err := s.createContainer(ctx, &o.Options, req, o.quiet)
	if err != nil {
		return runError(err, exitEngine)
	}
	if o.detach {
		return s.startDetached(ctx, id)
	}
	return s.startAttached(ctx, id, o, req, keys)
}

func (s *Session) startDetached(ctx context.Context, id string) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	if err := cl.ContainerStart(ctx, id); err != nil {
		return runError(err, startCode(err))
	}
	_, err = fmt.Fprintln(s.Out, id)
	return err
}

// startAttached joins the streams and the wait before the start, so that no byte and no exit is missed.
func (s *Session) startAttached(ctx context.Context, id string, o *runOptions, req *container.CreateRequest, keys []byte) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	cfg := req.Config
	cond := container.WaitConditionNextExit
	if o.AutoRemove {
		cond = container.WaitConditionRemoved
	}
	signals := s.catchSignals(o.sigProxy)
	defer signals.stop()
	a := attachment{
		id: id, tty: cfg.Tty, stdin: cfg.AttachStdin, stdout: cfg.AttachStdout, stderr: cfg.AttachStderr, keys: keys,
		resize: func(h, w uint16) error { return cl.ContainerResize(ctx, id, h, w) },
	}
	wait, err := s.attachAndWait(ctx, cl, &a, docker.AttachOptions{
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr, Stream: true, DetachKeys: o.detachKeys,
	}, cond)
	if err != nil {
		return runError(err, exitEngine)
	}
	exit := make(chan waited, 1)
	go func() { r, err := wait(); exit <- waited{r, err} }()
	streams := s.pump(&a)
	if err := cl.ContainerStart(ctx, id); err != nil {
		_ = a.stream.Close()
		if o.AutoRemove {
			<-exit // gone before the user can look for it
		}
		s.restore()
		return runError(err, startCode(err))
	}
	s.followSize(&a)
	signals.forward(func(name string) { _ = cl.ContainerKill(ctx, id, name) })
	if err := <-streams; errors.Is(err, terminal.ErrDetached) {
		return nil
	} else if err != nil {
		return runError(err, exitEngine)
	}
	return s.ended(ctx, cl, id, <-exit).err()
}

// ended is how the container ended. Its streams outlive the engine that we asked to wait (the shim holds them): when
// that engine went away, the one that took its place is asked.
func (s *Session) ended(ctx context.Context, cl *client.Client, id string, w waited) waited {
	socket, err := s.daemonSocket()
	if w.lost == nil || ctx.Err() != nil || err != nil {
		return w
	}
	if err := launch.Await(ctx, socket, restartBound); err != nil {
		return waited{lost: fmt.Errorf("%w; the engine did not come back within %s", w.lost, restartBound)}
	}
	wait, err := cl.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	if err != nil {
		return waited{lost: fmt.Errorf("the engine was restarted, and the exit status was lost: %w", err)}
	}
	r, err := wait()
	return waited{r, err}
}

// restartBound is how long a foreground container's client waits for an engine that is being restarted.
const restartBound = 30 * time.Second

// waited is how a container ended.
type waited struct {
	container.WaitResponse
	lost error
}

// err is nil for exit code 0.
func (w waited) err() error {
	switch {
	case w.lost != nil:
		return &exitError{exitEngine, w.lost}
	case w.Error != nil && w.Error.Message != "":
		return &exitError{exitEngine, fmt.Errorf("error waiting for container: %s", w.Error.Message)}
	case w.StatusCode != 0:
		return &exitError{Code: int(w.StatusCode)}
	}
	return nil
}

// attachAndWait opens both connections at once; a container without attached streams only waits.
func (s *Session) attachAndWait(ctx context.Context, cl *client.Client, a *attachment, o docker.AttachOptions, cond container.WaitCondition) (func() (container.WaitResponse, error), error) {
	attached := make(chan error, 1)
	go func() {
		if !o.Stdin && !o.Stdout && !o.Stderr {
			attached <- nil
			return
		}
		var err error
		a.stream, err = cl.ContainerAttach(ctx, a.id, o)
		attached <- err
	}()
	wait, err := cl.ContainerWait(ctx, a.id, cond)
	return wait, errors.Join(<-attached, err)
}

// runError is how `run` reports what it could not do.
func runError(err error, code int) error {
	if errors.Is(err, context.Canceled) {
		return &exitError{Code: 130}
	}
	return &exitError{code, fmt.Errorf("conex: %w\n\nSee 'conex run --help'.", err)}
}

// startCode tells a command that is not there (127) and one that cannot be executed (126) from other failures, by the
// engine's words, as every Docker client does.
func startCode(err error) int {
	text := err.Error()
	for _, sign := range []string{"executable file not found", "no such file or directory", "system cannot find the file specified"} {
		if strings.Contains(text, sign) {
			return exitNotFound
		}
	}
	for _, sign := range []error{unix.EACCES, unix.EISDIR, unix.ENOEXEC} {
		if strings.Contains(text, sign.Error()) {
			return exitNotInvokable
		}
	}
	return exitEngine
}

// needTerminal refuses -it where the input is no terminal.
func (s *Session) needTerminal(wanted bool) error {
	if wanted && s.inTerminal() == nil {
		return errors.New("the input device is not a TTY")
	}
	return nil
}

// detachKeys parses --detach-keys, the config file's detachKeys, or the default.
func (s *Session) detachKeys(given string) ([]byte, error) {
	if given == "" {
		given = terminal.DefaultKeys
	}
	keys, err := terminal.ParseKeys(given)
	if err != nil {
		return nil, fmt.Errorf("invalid detach keys (%s): %w", given, err)
	}
	return keys, nil
}
