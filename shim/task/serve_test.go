package task

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
)

func testService() *service {
	s := newService(Config{Namespace: "test", ID: "c"})
	s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return s
}

func TestPanicBecomesAnError(t *testing.T) {
	s := testService()
	method := unary(s, "Wait", func(context.Context, *taskapi.ProcessRequest) (*taskapi.WaitResponse, error) { panic("boom") })
	_, err := method(context.Background(), nil)
	if err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsKeepClassErrnoAndText(t *testing.T) {
	err := onWire(errdefs.NotFound("program %s: %w", "x", syscall.ENOENT))
	var st *ttrpc.Status
	if !errors.As(err, &st) || st.Code != ttrpc.NotFound || st.Message != "program x: no such file or directory" {
		t.Fatalf("status %v", st)
	}
	if len(st.Details) != 1 || st.Details[0].TypeURL != shim.TypeError {
		t.Fatalf("details %v", st.Details)
	}
	var word shim.Error
	if err := wire.Unmarshal(st.Details[0].Value, &word); err != nil || word != (shim.Error{Class: "not found", Errno: 2}) {
		t.Errorf("detail %+v, %v", word, err)
	}
}

func TestEveryMethodIsServed(t *testing.T) {
	methods := testService().methods()
	for _, name := range strings.Fields("State Create Start Delete Pids Pause Resume Checkpoint Kill Exec ResizePty CloseIO Update Wait Stats Connect Shutdown") {
		if methods[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if len(methods) != 17 {
		t.Errorf("%d methods", len(methods))
	}
}

func TestUnknownContainer(t *testing.T) {
	s := testService()
	if _, err := s.State(context.Background(), &taskapi.ProcessRequest{ID: "c"}); !errdefs.IsNotFound(err) {
		t.Errorf("state: %v", err)
	}
	if _, err := s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: "other"}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("create: %v", err)
	}
	resp, err := s.Connect(context.Background(), &taskapi.ContainerRequest{ID: "c"})
	if err != nil || resp.ShimPid == 0 {
		t.Errorf("connect: %v, %v", resp, err)
	}
	if resp.Extra.OrNone().HasTask {
		t.Errorf("extra %+v", resp.Extra)
	}
}

// A manager that goes away without reading the answers to its Headers is no broken connection: what it sent before its end is read.
func TestManagerGoesWithoutTheAnswers(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(pair[0]), "shim")
	conn, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	header := wire.Marshal(&shim.Header{ExecID: "nobody", Stdout: true})
	if err := unix.Sendmsg(pair[1], header, unix.UnixRights(int(null.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- testService().serveStream(conn.(*net.UnixConn)) }()
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(pair[1]), Events: unix.POLLIN}}, 10000); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(pair[1])
	if err := <-ended; err != nil {
		t.Errorf("the end of the connection is an error: %v", err)
	}
	_ = conn.Close()
}
