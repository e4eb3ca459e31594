package task

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"

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
