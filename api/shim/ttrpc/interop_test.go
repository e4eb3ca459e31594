package ttrpc_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	theirs "github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
)

func listen(t *testing.T) (net.Listener, func() net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, func() net.Conn {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// ourServer echoes ids in Connect; Wait hangs until it is cancelled and says so; Kill fails with a detail.
func ourServer(t *testing.T) (dial func() net.Conn, cancelled chan error) {
	t.Helper()
	cancelled = make(chan error, 8)
	methods := ttrpc.Methods{
		"Connect": ttrpc.Unary(func(_ context.Context, r *taskapi.ContainerRequest) (*taskapi.ConnectResponse, error) {
			return &taskapi.ConnectResponse{ShimPid: uint32(len(r.ID)), Version: r.ID}, nil
		}),
		"Wait": ttrpc.Unary(func(ctx context.Context, r *taskapi.ProcessRequest) (*taskapi.WaitResponse, error) {
			<-ctx.Done()
			cancelled <- ctx.Err()
			return nil, ctx.Err()
		}),
		"Kill": ttrpc.Unary(func(context.Context, *taskapi.KillRequest) (*wire.Empty, error) {
			return nil, &ttrpc.Status{Code: ttrpc.NotFound, Message: "no such thing", Details: []*wire.Any{{TypeURL: "t", Value: []byte("v")}}}
		}),
		"Pause": ttrpc.Unary(func(context.Context, *taskapi.ContainerRequest) (*wire.Empty, error) {
			return nil, errors.New("plain")
		}),
	}
	l, dial := listen(t)
	go func() {
		_ = ttrpc.NewServer(map[string]ttrpc.Methods{taskapi.ServiceV2: methods}).Serve(context.Background(), l)
	}()
	return dial, cancelled
}

func TestTheirClientOnOurServer(t *testing.T) {
	dial, cancelled := ourServer(t)
	client := theirs.NewClient(dial())
	rpc := taskv2.NewTTRPCTaskClient(client)
	ctx := theirs.WithMetadata(t.Context(), theirs.MD{"containerd-namespace-ttrpc": []string{"k8s.io"}})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			id := strings.Repeat("x", i*1000)
			resp, err := rpc.Connect(ctx, &taskv2.ConnectRequest{ID: id})
			if err != nil || resp.Version != id || int(resp.ShimPid) != len(id) {
				t.Errorf("connect %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	_, err := rpc.Kill(ctx, &taskv2.KillRequest{})
	if st := status.Convert(err); st.Code() != codes.NotFound || st.Message() != "no such thing" || len(st.Proto().Details) != 1 {
		t.Errorf("kill: %v", err)
	}
	if _, err = rpc.Pause(ctx, &taskv2.PauseRequest{}); status.Code(err) != codes.Unknown {
		t.Errorf("pause: %v", err)
	}
	if _, err = rpc.Stats(ctx, &taskv2.StatsRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("stats: %v", err)
	}
	if err := client.Call(ctx, "no.such", "Thing", &taskv2.StatsRequest{}, &taskv2.StatsResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown service: %v", err)
	}
	_, err = rpc.Connect(ctx, &taskv2.ConnectRequest{ID: strings.Repeat("x", 4<<20-100)})
	if err != nil {
		t.Errorf("almost 4 MiB: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, _ = rpc.Wait(short, &taskv2.WaitRequest{})
	if err := <-cancelled; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the deadline did not arrive: %v", err)
	}
	go func() { _, _ = rpc.Wait(ctx, &taskv2.WaitRequest{}) }()
	time.Sleep(10 * time.Millisecond)
	_ = client.Close()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the connection: %v", err)
	}
}

func TestStreamsAreRefused(t *testing.T) {
	dial, _ := ourServer(t)
	client := theirs.NewClient(dial())
	stream, err := client.NewStream(t.Context(), &theirs.StreamDesc{StreamingClient: true, StreamingServer: true}, taskapi.ServiceV2, "Connect", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&taskv2.ConnectResponse{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if _, err := taskv2.NewTTRPCTaskClient(client).Connect(t.Context(), &taskv2.ConnectRequest{ID: "a"}); err != nil {
		t.Errorf("the connection is no good any more: %v", err)
	}
}

// theirTask is a task service of containerd's library.
type theirTask struct {
	taskv2.TTRPCTaskService
	cancelled chan error
}

func (theirTask) Connect(ctx context.Context, r *taskv2.ConnectRequest) (*taskv2.ConnectResponse, error) {
	return &taskv2.ConnectResponse{Version: r.ID}, nil
}

func (theirTask) Stats(context.Context, *taskv2.StatsRequest) (*taskv2.StatsResponse, error) {
	st, err := status.New(codes.AlreadyExists, "twice").WithDetails(&anypb.Any{TypeUrl: "x"})
	if err != nil {
		return nil, err
	}
	return nil, st.Err()
}

func (s theirTask) Wait(ctx context.Context, _ *taskv2.WaitRequest) (*taskv2.WaitResponse, error) {
	<-ctx.Done()
	s.cancelled <- ctx.Err()
	return nil, ctx.Err()
}

func TestOurClientOnTheirServer(t *testing.T) {
	server, err := theirs.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	service := theirTask{cancelled: make(chan error, 1)}
	taskv2.RegisterTTRPCTaskService(server, service)
	l, dial := listen(t)
	go func() { _ = server.Serve(context.Background(), l) }()
	conn := ttrpc.NewClient(dial())
	client := taskapi.NewClient(conn)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			id := strings.Repeat("y", i*1000)
			if resp, err := client.Connect(t.Context(), &taskapi.ContainerRequest{ID: id}); err != nil || resp.Version != id {
				t.Errorf("connect %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	var st *ttrpc.Status
	_, err = client.Stats(t.Context(), &taskapi.ContainerRequest{})
	if !errors.As(err, &st) || st.Code != ttrpc.AlreadyExists || st.Message != "twice" || len(st.Details) != 1 {
		t.Errorf("stats: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = client.Wait(short, &taskapi.ProcessRequest{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("wait: %v", err)
	}
	if err := <-service.cancelled; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the deadline did not arrive: %v", err)
	}
	done := make(chan error)
	go func() { _, err := client.Wait(t.Context(), &taskapi.ProcessRequest{}); done <- err }()
	time.Sleep(10 * time.Millisecond)
	_ = conn.Close()
	if err := <-done; !errors.Is(err, ttrpc.ErrClosed) {
		t.Errorf("a call on a closed connection: %v", err)
	}
	if _, err := client.Connect(t.Context(), &taskapi.ContainerRequest{}); !errors.Is(err, ttrpc.ErrClosed) {
		t.Errorf("a call after the end: %v", err)
	}
}

// A peer that sends nonsense ends its own connection and nothing else.
func TestBrokenFrames(t *testing.T) {
	dial, _ := ourServer(t)
	for _, frame := range []string{
		"\x00\x00\x00\x01\x00\x00\x00\x02\x01\x00x",                                                // an even stream
		"\x00\x00\x00\x03\x00\x00\x00\x01\x01\x00\xff\xff\xff",                                     // no request
		"\x00\x00\x00\x00\x00\x00\x00\x01\x03\x00",                                                 // data of no stream
		"\x00\x50\x00\x00\x00\x00\x00\x01\x01\x00" + strings.Repeat("z", 5<<20),                    // too long
		"\x00\x00\x00\x00\x00\x00\x00\x03\x01\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00",    // numbers that shrink
		"\x00\x00\x00\x00\x00\x00\x00\x01\x09\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00abc", // an unknown type
	} {
		conn := dial()
		go func() { _, _ = conn.Write([]byte(frame)) }()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		header := make([]byte, 10)
		if _, err := conn.Read(header); err != nil || header[8] != 2 {
			t.Errorf("%.20q: answered %x, %v", frame, header, err)
		}
	}
	if _, err := taskapi.NewClient(ttrpc.NewClient(dial())).Connect(t.Context(), &taskapi.ContainerRequest{ID: "a"}); err != nil {
		t.Errorf("the server: %v", err)
	}
}
