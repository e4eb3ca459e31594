package task

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
)

// Attach hands a client's connection to the shim of a task, or of one of its execs. The connection is the shim's
// when Attach returns without an error, and closed in any case on this side.
func (s *Service) Attach(ctx context.Context, ns, id string, stream Stream) error {
	defer closeStreams([]Stream{stream})
	t, err := s.find(ns, id)
	if err != nil {
		return err
	}
	if err := t.attach(ctx, stream); err != nil {
		return fmt.Errorf("task %s: attach: %w", id, err)
	}
	return nil
}

// attach sends one Header and waits for the answer.
func (t *task) attach(ctx context.Context, stream Stream) error {
	conn, err := t.handOverAll([]Stream{stream})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline := time.Now().Add(quickCall)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return errdefs.Unavailable("the shim did not take the stream: %w", err)
	}
	var reply shim.Reply
	if err := wire.Unmarshal(buf[:n], &reply); err != nil {
		return fmt.Errorf("answer of the shim: %w", err)
	}
	if reply.Err != "" {
		return errdefs.NotFound("%s", reply.Err)
	}
	return nil
}

// handOverAll sends the Headers with their connections over one stream connection, which the caller closes (nil
// without streams). It does not wait for the answers.
func (t *task) handOverAll(streams []Stream) (_ *net.UnixConn, err error) {
	if len(streams) == 0 {
		return nil, nil
	}
	conn, err := dial(t.dir, shim.StreamName, "unixpacket")
	if err != nil {
		return nil, fmt.Errorf("connect to the shim's streams: %w", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	for _, stream := range streams {
		if err := handOver(conn, stream); err != nil {
			return nil, fmt.Errorf("hand over a stream: %w", err)
		}
	}
	return conn, nil
}

// handOver sends one Header with its connection (unix(7), SCM_RIGHTS).
func handOver(conn *net.UnixConn, stream Stream) error {
	header := wire.Marshal(&stream.Header)
	raw, err := stream.Conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = conn.WriteMsgUnix(header, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sendErr)
}

func closeStreams(streams []Stream) {
	for _, stream := range streams {
		if stream.Conn != nil {
			_ = stream.Conn.Close()
		}
	}
}
