package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/pidfd"
	"github.com/conex-containers/conex/runtime/child"
	"github.com/conex-containers/conex/runtime/handshake"
)

// Start lets a created container's process execute its program. Errors: FailedPrecondition unless the container is
// created; of the execve itself a *handshake.Error with its errno. When a poststart hook fails the container is
// killed and deleted (runtime.md, Lifecycle).
func (c *Container) Start(ctx context.Context) error {
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("container %s: start: %w", c.ID(), err)
	}
	return nil
}

func (c *Container) start(ctx context.Context) error {
	st, err := c.status()
	if err != nil {
		return err
	}
	if st != specs.StateCreated {
		return errdefs.FailedPrecondition("cannot start a container in the %s state", st)
	}
	h := c.rec.Hooks
	if h != nil && len(h.StartContainer) > 0 {
		if err := c.startHooks(ctx, h.StartContainer); err != nil {
			return errors.Join(err, c.Delete(ctx, true))
		}
	}
	if err := c.release(ctx); err != nil {
		return err
	}
	if h != nil && len(h.Poststart) > 0 {
		if err := c.runHooks(ctx, "poststart", h.Poststart, c.stateAs(specs.StateRunning).State); err != nil {
			return errors.Join(err, c.Delete(ctx, true))
		}
	}
	return nil
}

// release opens the reading end of exec.fifo, which lets the process's own open return, and waits until it has
// executed its program (the end of the file) or says why not. Of several starts at the same time one makes the mark.
func (c *Container) release(ctx context.Context) error {
	fd, err := unix.Open(filepath.Join(c.dir, child.FifoName), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", child.FifoName, err)
	}
	defer func() { _ = unix.Close(fd) }()
	mark, err := unix.Open(filepath.Join(c.dir, startedName), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, stateMode)
	if err != nil {
		return errdefs.FailedPrecondition("container is being started already: %w", err)
	}
	_ = unix.Close(mark)
	process := c.Pidfd()
	if _, err := pidfd.Poll(ctx, fd, process); err != nil {
		return err
	}
	buf := make([]byte, handshake.Size+1)
	n, err := unix.Read(fd, buf)
	if err != nil && err != unix.EAGAIN {
		return fmt.Errorf("read %s: %w", child.FifoName, err)
	}
	if n <= 0 {
		return nil // executed; what happened to the program since is its own exit status
	}
	m, err := handshake.Parse(buf[:n])
	if err != nil {
		return err
	}
	e := m.Err()
	if e.Step == handshake.StepExec {
		e.Detail = c.rec.Process.Args[0]
	}
	return fmt.Errorf("unable to start container process: %w", e)
}

// startHooks runs the startContainer hooks inside the container, as processes of its own that have the runtime's
// privileges there.
func (c *Container) startHooks(ctx context.Context, hooks []specs.Hook) error {
	stdin, err := c.hookState()
	if err != nil {
		return err
	}
	defer func() { _ = stdin.Close() }()
	for i, h := range hooks {
		if _, err := stdin.Seek(0, 0); err != nil {
			return err
		}
		if err := c.startHook(ctx, h, stdin); err != nil {
			return fmt.Errorf("error running startContainer hook #%d: %w", i, err)
		}
	}
	return nil
}

// hookState is the state as a file in memory.
func (c *Container) hookState() (*os.File, error) {
	fd, err := unix.MemfdCreate("state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "state")
	if err := writeJSON(f, c.stateAs(specs.StateCreated).State); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// hookOutput is a file in memory for what a hook says: nobody has to read it while the hook runs.
func hookOutput() (*os.File, error) {
	fd, err := unix.MemfdCreate("output", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "output"), nil
}

// startHook runs one hook inside the container and waits for it.
func (c *Container) startHook(ctx context.Context, h specs.Hook, stdin *os.File) error {
	ctx, cancel, err := hookTime(ctx, h)
	if err != nil {
		return err
	}
	defer cancel()
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	out, err := hookOutput()
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	process := *c.rec.Process
	process.Args, process.Env, process.Cwd, process.Terminal, process.ConsoleSize = args, h.Env, "/", false, nil
	o := ExecOptions{ID: "startContainer hook", Process: &process, Stdio: [3]*os.File{stdin, out, out}}
	e := newExecution(c, o, sets(ctx, process.Capabilities, c.rec.Namespaces&unix.CLONE_NEWUSER != 0))
	if e.filt, err = c.loadedFilter(); err != nil {
		return err
	}
	if e.policy, err = c.loadedLandlock(); err != nil {
		return err
	}
	e.program = h.Path
	// What the container may not do its hooks may not either, as with runc; but a listener's agent waits for one process.
	if c.rec.ListenerPath == "" {
		if e.filt, err = c.loadedFilter(); err != nil {
			return err
		}
	}
	if h.Env == nil { // none of its own: the process's, as with runc
		o.Process.Env, e.inherits = c.rec.Process.Env, true
	}
	p, err := e.run(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	if err := pidfd.Wait(ctx, p.pidfd); err != nil {
		_ = pidfd.Signal(p.pidfd, unix.SIGKILL)
		reap(p.pidfd)
		return fmt.Errorf("hook %s: ran past its timeout: %w", h.Path, err)
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(p.pid, &ws, 0, nil); err != nil {
		return fmt.Errorf("hook %s: wait: %w", h.Path, err)
	}
	if ws.Signaled() {
		return errdefs.FailedPrecondition("hook %s: signal: %s", h.Path, ws.Signal())
	}
	if ws.ExitStatus() != 0 {
		text := make([]byte, outputLimit)
		n, _ := out.ReadAt(text, 0)
		how := fmt.Sprintf("exit status %d", ws.ExitStatus())
		if ws.Signaled() {
			how = "signal: " + ws.Signal().String()
		}
		return errdefs.FailedPrecondition("hook %s: %s, output: %s", h.Path, how, bytes.TrimSpace(text[:n]))
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
