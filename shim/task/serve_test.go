package task

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
)

func testService() *service {
	s := newService(Config{Namespace: "test", ID: "c"})
	s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	return s
}

func TestPanicBecomesAnError(t *testing.T) {
	s := testService()
	method := unary(s, "Wait", func(context.Context, *taskapi.WaitRequest) (*taskapi.WaitResponse, error) { panic("boom") })
	_, err := method(context.Background(), func(any) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsKeepClassErrnoAndText(t *testing.T) {
	err := onWire(errdefs.NotFound("program %s: %w", "x", syscall.ENOENT))
	st, ok := status.FromError(err)
	if !ok || st.Code() != codes.NotFound || st.Message() != "program x: no such file or directory" {
		t.Fatalf("status %v", st)
	}
	details := st.Proto().GetDetails()
	if len(details) != 1 || details[0].TypeUrl != shim.TypeError ||
		!strings.Contains(string(details[0].Value), `"class":"not found"`) || !strings.Contains(string(details[0].Value), `"errno":2`) {
		t.Errorf("details %v", details)
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
	if _, err := s.State(context.Background(), &taskapi.StateRequest{ID: "c"}); !errdefs.IsNotFound(err) {
		t.Errorf("state: %v", err)
	}
	if _, err := s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: "other"}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("create: %v", err)
	}
	resp, err := s.Connect(context.Background(), &taskapi.ConnectRequest{ID: "c"})
	if err != nil || resp.ShimPid == 0 {
		t.Errorf("connect: %v, %v", resp, err)
	}
	if extra, err := shim.GetExtra(resp); err != nil || extra.HasTask {
		t.Errorf("extra %+v, %v", extra, err)
	}
}

func TestExtraSurvivesTheWire(t *testing.T) {
	resp := &taskapi.WaitResponse{ExitStatus: 3}
	if err := shim.PutExtra(resp, shim.Extra{OOMKilled: true, Execs: []string{"e"}}); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(resp)
	if err != nil {
		t.Fatal(err)
	}
	var again taskapi.WaitResponse
	if err := proto.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	extra, err := shim.GetExtra(&again)
	if err != nil || !extra.OOMKilled || len(extra.Execs) != 1 || again.ExitStatus != 3 {
		t.Errorf("%+v, %v, %v", extra, &again, err)
	}
}
