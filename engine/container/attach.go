package container

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/task"
)

// ContainerAttach connects a client to the container's own process. The connection is handed to the shim, so it
// returns at once; the client of a container that does not run yet is held until it starts.
func (s *Service) ContainerAttach(ctx context.Context, ref string, o docker.AttachOptions, hijack func(tty bool) (net.Conn, []byte, error)) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	keys, err := detachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	if c.phaseAlive() {
		return s.attach(ctx, c, o, keys, hijack, s.handOver)
	}
	// hijack answers the client, which may ask for the start at once: the operation lock keeps that start waiting
	// until the client is held, or a short-lived process would be over before.
	if err := c.op.lockContext(ctx); err != nil {
		return err
	}
	defer c.op.unlock()
	connect := s.handOver
	if !c.phaseAlive() {
		connect = func(_ context.Context, c *Container, conn net.Conn, h shim.Header) error {
			c.hold(conn, h)
			return nil
		}
	}
	return s.attach(ctx, c, o, keys, hijack, connect)
}

// attach takes the client's connection over, unless the container's state forbids it, and gives it to connect.
func (s *Service) attach(
	ctx context.Context, c *Container, o docker.AttachOptions, keys []byte, hijack func(tty bool) (net.Conn, []byte, error),
	connect func(context.Context, *Container, net.Conn, shim.Header) error,
) error {
	v := c.view()
	switch v.State {
	case types.StatePaused:
		return errdefs.Conflict("container %s is paused, unpause the container before attach", v.ID)
	case types.StateRestarting:
		return errdefs.Conflict("container %s is restarting, wait until the container is running", v.ID)
	case removed:
		return errdefs.NotFound("No such container: %s", v.ID)
	}
	conn, buffered, err := hijack(v.Config.Tty)
	if err != nil {
		return err
	}
	rec := v.Record
	if o.Logs {
		_ = conn.SetWriteDeadline(time.Now().Add(replayBound))
		if err := s.replay(ctx, &rec, o, conn); err != nil {
			logging.From(ctx).Warn("attach: log", "container", v.ID, "err", err)
		}
		_ = conn.SetWriteDeadline(time.Time{})
	}
	if !o.Stream {
		return conn.Close()
	}
	h := shim.Header{
		Stdin: o.Stdin && v.Config.OpenStdin, Stdout: o.Stdout, Stderr: o.Stderr,
		CloseStdin: v.Config.StdinOnce && !v.Config.Tty, Buffered: buffered,
	}
	if v.Config.Tty {
		h.DetachKeys = keys
	}
	s.publish(&rec, events.ActionAttach)
	return connect(ctx, c, conn, h)
}

// replayBound is how long a client may take to read the log that it asked for, before what is new follows.
const replayBound = 10 * time.Second

// handOver gives a client to the shim of a running container.
func (s *Service) handOver(ctx context.Context, c *Container, conn net.Conn, h shim.Header) error {
	f, err := connFile(conn)
	if err != nil {
		return err
	}
	return s.cfg.Processes.Attach(context.WithoutCancel(ctx), s.cfg.Namespace, c.id(), task.Stream{Header: h, Conn: f})
}

func (c *Container) phaseAlive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alive()
}

// replay writes what was logged so far to an attaching client.
func (s *Service) replay(ctx context.Context, rec *Record, o docker.AttachOptions, w io.Writer) error {
	lines, _, err := s.ContainerLogs(ctx, rec.ID, docker.LogsOptions{Stdout: o.Stdout, Stderr: o.Stderr, Tail: -1})
	if err != nil {
		return err
	}
	defer func() { _ = lines.Close() }()
	for {
		l, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		data := l.Line
		if !rec.Config.Tty {
			data = frame(l.Stream, l.Line)
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
}

// frame puts data into Docker's multiplexed stream: stream number, three zero bytes, length, data.
func frame(stream string, data []byte) []byte {
	out := make([]byte, 8, 8+len(data))
	out[0] = 1
	if stream == "stderr" {
		out[0] = 2
	}
	binary.BigEndian.PutUint32(out[4:], uint32(len(data)))
	return append(out, data...)
}

// ContainerResize sets the size of the container's terminal; without one there is nothing to do.
func (s *Service) ContainerResize(ctx context.Context, ref string, height, width uint16) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	if !c.phaseAlive() {
		return errdefs.Conflict("container %s is not running", c.id())
	}
	rec := c.record()
	if !rec.Config.Tty {
		return nil
	}
	if err := s.cfg.Processes.Resize(ctx, s.cfg.Namespace, c.id(), "", width, height); err != nil {
		return fmt.Errorf("container %s: resize: %w", c.id(), err)
	}
	s.publish(&rec, events.ActionResize, "height", fmt.Sprint(height), "width", fmt.Sprint(width))
	return nil
}
