package container

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/engine/health"
	"github.com/conex-containers/conex/manager/task"
)

// watchHealth begins the health checks of a container that has just started or been adopted; the mutex is held.
func (s *Service) watchHealth(c *Container) {
	if !health.Enabled(c.rec.Config.Healthcheck) {
		return
	}
	c.monitor = health.Start(s.base, *c.rec.Config.Healthcheck, s.probe(c), func(h types.HealthStatus) {
		rec := c.record()
		s.publish(&rec, events.Action("health_status: "+string(h)))
	})
}

// outputGrace is how long a health check's output is read on after its exit.
const outputGrace = 200 * time.Millisecond

// probe makes the function that runs a container's health check once: an exec whose output comes back by a pair of
// sockets.
func (s *Service) probe(c *Container) health.Probe {
	return func(ctx context.Context) (int, string, error) {
		if c.phase() != types.StateRunning {
			return 0, "", health.ErrSkipped
		}
		rec := c.record()
		req := types.ExecCreateRequest{Cmd: probeCommand(&rec), AttachStdout: true, AttachStderr: true}
		e := &execution{id: ids.New().String(), container: c, req: req, ended: make(chan struct{})}
		s.execs.add(e)
		defer s.execs.forget(e)
		near, far, err := socketPair()
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = near.Close() }()
		if err := e.begin(); err != nil {
			return 0, "", errors.Join(err, far.Close())
		}
		stream := &task.Stream{Header: shim.Header{ExecID: e.id, Stdout: true, Stderr: true}, Conn: far}
		if err := s.runExec(ctx, e, nil, stream); err != nil {
			return 0, "", err
		}
		output := make(chan string, 1)
		go func() { output <- probeOutput(near) }()
		select {
		case <-e.ended:
			// The end of the stream follows the exit; a grandchild that holds it open must not hold the check.
			_ = near.SetReadDeadline(time.Now().Add(outputGrace))
			return *e.code, <-output, nil
		case <-ctx.Done():
			kill := context.WithoutCancel(ctx)
			_ = s.cfg.Tasks.Kill(kill, s.cfg.Namespace, rec.ID, e.id, syscall.SIGKILL, false)
			_ = near.Close()
			return -1, <-output, ctx.Err()
		}
	}
}

// probeCommand is the command of a health check; CMD-SHELL goes through the image's shell.
func probeCommand(rec *Record) []string {
	test := rec.Config.Healthcheck.Test
	if test[0] == "CMD" {
		return test[1:]
	}
	shell := rec.Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	if len(test) < 2 {
		return append(append([]string{}, shell...), "")
	}
	return append(append([]string{}, shell...), test[1])
}

// probeOutput reads multiplexed output to its end and returns the first part of it.
func probeOutput(conn net.Conn) string {
	var out bytes.Buffer
	var head [8]byte
	for {
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return out.String()
		}
		n := int64(binary.BigEndian.Uint32(head[4:]))
		keep := min(n, int64(health.MaxOutput-out.Len()))
		if _, err := io.CopyN(&out, conn, keep); err != nil {
			return out.String()
		}
		if _, err := io.CopyN(io.Discard, conn, n-keep); err != nil {
			return out.String()
		}
	}
}
