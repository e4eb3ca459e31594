package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/shim/stdio"
)

// Bounds of the stream socket: the size of one Header (the bytes that an HTTP server has read ahead are 4 KiB at most),
// and how long Create waits for those that were announced.
const (
	maxHeader  = 16 << 10
	parkedWait = 10 * time.Second
)

// parkedStream is a client that came before the container was made.
type parkedStream struct {
	header shim.Header
	conn   *os.File
}

// serveStreams takes connections of the stream socket: each carries any number of Headers.
func (s *service) serveStreams(l *net.UnixListener) error {
	for {
		conn, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("stream socket: %w", err)
		}
		go func() {
			defer func() { _ = conn.Close() }()
			defer s.rescue("stream", nil)
			if err := s.serveStream(conn); err != nil {
				s.log.Warn("stream", "op", "attach", "err", err)
			}
		}()
	}
}

// serveStream answers the Headers of one connection in their order.
func (s *service) serveStream(conn *net.UnixConn) error {
	for {
		header, client, err := receiveHeader(conn)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, unix.ECONNRESET):
			continue // the manager went without reading all answers: said once, before the rest and the end of what it sent
		case client == nil && err != nil:
			return err // the connection is broken
		}
		if err == nil {
			err = s.attach(header, client)
		}
		var reply shim.Reply
		if err != nil {
			reply.Err = err.Error()
		}
		if _, err := conn.Write(wire.Marshal(&reply)); err != nil {
			return nil // nobody waits for the answer
		}
	}
}

// receiveHeader reads one message with its one descriptor. With an error it returns a descriptor only to say that
// the message was bad and the connection is not; it is closed then.
func receiveHeader(conn *net.UnixConn) (header shim.Header, client *os.File, err error) {
	buf := make([]byte, maxHeader)
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return header, nil, err
	}
	if n == 0 && oobn == 0 {
		return header, nil, io.EOF
	}
	fds, err := descriptors(oob[:oobn])
	if err != nil {
		return header, nil, err
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return header, nil, errdefs.InvalidArgument("a stream header must carry one descriptor, not %d", len(fds))
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_ = unix.Close(fds[0])
		return header, nil, err
	}
	client = os.NewFile(uintptr(fds[0]), "client")
	if flags&unix.MSG_TRUNC != 0 {
		err = errdefs.InvalidArgument("a stream header must be shorter than %d bytes", maxHeader)
	} else {
		err = wire.Unmarshal(buf[:n], &header)
	}
	if err != nil {
		_ = client.Close()
	}
	return header, client, err
}

// descriptors returns what came by SCM_RIGHTS; the Go runtime has set close-on-exec on each (MSG_CMSG_CLOEXEC).
func descriptors(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, m := range messages {
		list, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // other control data
		}
		fds = append(fds, list...)
	}
	return fds, nil
}

// attach gives a client to its process, or parks it until the container is made. The connection is taken in any case.
func (s *service) attach(header shim.Header, conn *os.File) error {
	s.mu.Lock()
	if s.containers[s.cfg.ID] == nil && header.ExecID == "" {
		s.parked = append(s.parked, parkedStream{header, conn})
		s.arrived.Broadcast()
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	_, p, err := s.lookup(s.cfg.ID, header.ExecID)
	if err != nil {
		_ = conn.Close()
		return err
	}
	return p.io.Attach(conn, header)
}

// takeParked attaches the clients that came before the container, having waited for those that were announced.
func (s *service) takeParked(ctx context.Context, streams *stdio.IO, announced int) {
	expired := false
	timer := time.AfterFunc(parkedWait, func() {
		s.mu.Lock()
		expired = true
		s.mu.Unlock()
		s.arrived.Broadcast()
	})
	defer timer.Stop()
	stop := context.AfterFunc(ctx, s.arrived.Broadcast)
	defer stop()
	s.mu.Lock()
	for len(s.parked) < announced && !expired && ctx.Err() == nil {
		s.arrived.Wait()
	}
	parked := s.parked
	s.parked = nil
	s.mu.Unlock()
	for _, client := range parked {
		if err := streams.Attach(client.conn, client.header); err != nil {
			s.log.Warn("attach", "op", "create", "err", err)
		}
	}
}

// newService returns a service without a container.
func newService(cfg Config) *service {
	s := &service{cfg: cfg, containers: make(map[string]*container)}
	s.arrived = sync.NewCond(&s.mu)
	return s
}
