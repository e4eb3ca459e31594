package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/linux/prelude"
)

// outputLimit is how much of a hook's output an error shows.
const outputLimit = 4096

// runHooks runs hooks in order with the state on their stdin; the first that fails ends it.
func (c *Container) runHooks(ctx context.Context, kind string, hooks []specs.Hook, state specs.State) error {
	if len(hooks) == 0 {
		return nil
	}
	stdin, err := json.Marshal(state)
	if err != nil {
		return err
	}
	for i, h := range hooks {
		if err := c.runHook(ctx, h, stdin, state.Annotations); err != nil {
			return fmt.Errorf("error running %s hook #%d: %w", kind, i, err)
		}
	}
	return nil
}

// hookTime bounds the hook's run by its timeout.
func hookTime(ctx context.Context, h specs.Hook) (context.Context, context.CancelFunc, error) {
	if h.Timeout == nil {
		return ctx, func() {}, nil
	}
	if *h.Timeout <= 0 {
		return nil, nil, errdefs.InvalidArgument("hook %s: timeout must be greater than zero", h.Path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
	return ctx, cancel, nil
}

// hookEnv is a hook's environment: never nil, which would be the runtime's own.
func (c *Container) hookEnv(h specs.Hook) []string {
	if h.Env == nil {
		return append([]string{}, c.manner.HookEnv...)
	}
	return h.Env
}

// hookDir is where hooks begin: "" is where this thread is. A bundle may be gone by the time of poststop.
func (c *Container) hookDir() string {
	if !c.manner.HooksInBundle {
		return ""
	}
	if _, err := os.Stat(c.rec.Bundle); err != nil {
		return ""
	}
	return c.rec.Bundle
}

func (c *Container) runHook(ctx context.Context, h specs.Hook, stdin []byte, annotations map[string]string) error {
	ctx, cancel, err := hookTime(ctx, h)
	if err != nil {
		return err
	}
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, h.Path)
	cmd.Args = h.Args
	if len(cmd.Args) == 0 {
		cmd.Args = []string{h.Path}
	}
	cmd.Env, cmd.Dir = c.hookEnv(h), c.hookDir()
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &out
	for name, stream := range map[string]*io.Writer{"run.oci.hooks.stdout": &cmd.Stdout, "run.oci.hooks.stderr": &cmd.Stderr} {
		path := annotations[name]
		if path == "" {
			continue
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) // crun's annotations
		if err != nil {
			return fmt.Errorf("annotation %s: %w", name, err)
		}
		defer func() { _ = f.Close() }()
		*stream = f
	}
	cmd.WaitDelay = time.Second // a daemon that the hook left behind may hold its output open
	err = prelude.Start(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("hook %s: ran past its timeout: %w", h.Path, ctx.Err())
	}
	if err != nil {
		text := bytes.TrimSpace(out.Bytes())
		return fmt.Errorf("hook %s: %w, output: %s", h.Path, err, text[:min(len(text), outputLimit)])
	}
	return nil
}

// runHooks runs what comes between the making of the namespaces and the pivot: prestart and createRuntime in the
// runtime's namespaces, so not on this thread; createContainer in the container's, its pid namespace included. The
// deprecated prestart hooks are told "created", as crun and the specification's validation suite have it, which read
// "after step 2" of the lifecycle so; the two that replace them are told "creating", as by runc.
func (b *builder) runHooks() error {
	h := b.k.spec.Hooks
	if h == nil {
		return nil
	}
	b.k.hooked = true
	state := b.k.c.stateAs(specs.StateCreating).State
	early := state
	early.Status = specs.StateCreated
	onHost := make(chan error, 1)
	go func() {
		//lint:ignore SA1019 deprecated by the specification, but in use
		if err := b.k.c.runHooks(b.ctx, "prestart", h.Prestart, early); err != nil {
			onHost <- err
			return
		}
		onHost <- b.k.c.runHooks(b.ctx, "createRuntime", h.CreateRuntime, state)
	}()
	if err := <-onHost; err != nil {
		return err
	}
	if len(h.CreateContainer) == 0 {
		return nil
	}
	if err := unix.Setns(b.k.c.pidfd, b.k.plan.all&unix.CLONE_NEWPID); err != nil && b.k.plan.all&unix.CLONE_NEWPID != 0 {
		return fmt.Errorf("enter the container's pid namespace: %w", err)
	}
	// They begin in the new root, as runc's do, unless hookDir says otherwise; the pivot moves this thread anyway.
	if err := unix.Fchdir(int(b.rootT)); err != nil {
		return fmt.Errorf("enter the new root: %w", err)
	}
	return b.k.c.runHooks(b.ctx, "createContainer", h.CreateContainer, state)
}

// warnHooks is runHooks for hooks whose failure only is logged (poststop, runtime.md).
func (c *Container) warnHooks(ctx context.Context, kind string, hooks []specs.Hook, state specs.State) {
	for i := range hooks {
		if err := c.runHooks(ctx, kind, hooks[i:i+1], state); err != nil {
			text := kind + " hook failed"
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				text += fmt.Sprintf(" with exit code %d", exit.ExitCode())
			}
			logging.From(ctx).Warn(text, "container", state.ID, "err", err)
		}
	}
}
