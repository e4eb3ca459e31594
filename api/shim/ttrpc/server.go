package ttrpc

import (
	"bufio"
	"context"
	"errors"
	"net"
	"time"

	"github.com/conex-containers/conex/api/shim/wire"
)

// Method answers one call, given the encoded request. An error that is no *Status goes out as Unknown.
type Method func(ctx context.Context, payload []byte) (wire.Message, error)

// Methods are the methods of a service by name.
type Methods map[string]Method

// Server answers calls. Its services must not change once it serves.
type Server struct {
	services map[string]Methods
}

// NewServer returns a server of the services, by name.
func NewServer(services map[string]Methods) *Server { return &Server{services: services} }

// Unary makes a Method of a function that takes a decoded request.
func Unary[T any, Q wire.PointerTo[T], A wire.Message](handle func(context.Context, Q) (A, error)) Method {
	return func(ctx context.Context, payload []byte) (wire.Message, error) {
		req := Q(new(T))
		if err := wire.Unmarshal(payload, req); err != nil {
			return nil, &Status{Code: InvalidArgument, Message: err.Error()}
		}
		return handle(ctx, req)
	}
}

// Serve takes connections until the listener is closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go s.ServeConn(ctx, conn)
	}
}

// ServeConn answers the calls of one connection, each in its own goroutine, until it is closed; calls under way are
// cancelled then.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() { _ = conn.Close() }()
	out := &writer{conn: conn}
	in := bufio.NewReaderSize(conn, readBuffer)
	last := uint32(0)
	for {
		f, err := readFrame(in)
		if err != nil && err != errTooLong {
			return
		}
		var refused *Status
		switch {
		case err != nil:
			refused = &Status{Code: ResourceExhausted, Message: err.Error()}
		case f.stream%2 == 0:
			refused = &Status{Code: InvalidArgument, Message: "ttrpc: a caller's streams have odd numbers"}
		case f.kind == typeData:
			refused = &Status{Code: InvalidArgument, Message: "ttrpc: the stream is not open"}
		case f.kind != typeRequest:
			continue // a later version's
		case f.stream <= last:
			refused = &Status{Code: InvalidArgument, Message: "ttrpc: stream numbers must grow"}
		case f.flags&flagRemoteOpen != 0:
			last = f.stream
			refused = &Status{Code: Unimplemented, Message: "ttrpc: calls that stream data are not served"}
		}
		if refused == nil {
			last = f.stream
			go s.answer(ctx, out, f)
		} else if out.send(f.stream, typeResponse, &response{status: refused}) != nil {
			return
		}
	}
}

// answer runs one call.
func (s *Server) answer(ctx context.Context, out *writer, f frame) {
	var resp response
	answered, err := s.call(ctx, f.data)
	if err == nil {
		resp.payload = wire.Marshal(answered)
	} else if !errors.As(err, &resp.status) {
		resp.status = &Status{Code: codeOf(err), Message: err.Error()}
	}
	if err := out.send(f.stream, typeResponse, &resp); err == errTooLong {
		resp = response{status: &Status{Code: ResourceExhausted, Message: "ttrpc: the answer is longer than 4 MiB"}}
		_ = out.send(f.stream, typeResponse, &resp)
	}
	// Another error: the connection is broken, which its reader finds out by itself.
}

func (s *Server) call(ctx context.Context, data []byte) (wire.Message, error) {
	var req request
	if err := wire.Unmarshal(data, &req); err != nil {
		return nil, &Status{Code: InvalidArgument, Message: err.Error()}
	}
	methods, ok := s.services[req.service]
	if !ok {
		return nil, &Status{Code: Unimplemented, Message: "service " + req.service}
	}
	method, ok := methods[req.method]
	if !ok {
		return nil, &Status{Code: Unimplemented, Message: "method " + req.method}
	}
	if req.timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.timeout))
		defer cancel()
	}
	return method(ctx, req.payload)
}

func codeOf(err error) Code {
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Unknown
}
