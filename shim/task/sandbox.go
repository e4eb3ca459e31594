package task

import (
	"context"
	"os"
	goruntime "runtime"
	"sync"
	"syscall"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
)

// sandbox is the pod that this shim is for, when containerd uses the sandbox service: no process of its own, the
// shim stands for it. The containers come by the task service.
//
//	CreateSandbox -> StartSandbox -> ready -> StopSandbox -> stopped -> ShutdownSandbox
type sandbox struct {
	id        string
	createdAt time.Time
	ended     chan struct{} // closed by StopSandbox

	mu       sync.Mutex
	started  bool
	exitedAt time.Time
}

// isUp reports whether there is a sandbox that was not stopped.
func (b *sandbox) isUp() bool {
	if b == nil {
		return false
	}
	select {
	case <-b.ended:
		return false
	default:
		return true
	}
}

// sandboxMethods is the table of the sandbox service.
func (s *service) sandboxMethods() ttrpc.Methods {
	return ttrpc.Methods{
		"CreateSandbox":   unary(s, "CreateSandbox", s.createSandbox),
		"StartSandbox":    unary(s, "StartSandbox", s.startSandbox),
		"Platform":        unary(s, "Platform", s.platform),
		"StopSandbox":     unary(s, "StopSandbox", s.stopSandbox),
		"WaitSandbox":     unary(s, "WaitSandbox", s.waitSandbox),
		"SandboxStatus":   unary(s, "SandboxStatus", s.sandboxStatus),
		"PingSandbox":     unary(s, "PingSandbox", s.pingSandbox),
		"ShutdownSandbox": unary(s, "ShutdownSandbox", s.shutdownSandbox),
		"SandboxMetrics":  unary(s, "SandboxMetrics", s.sandboxMetrics),
		"UpdateSandbox":   unary(s, "UpdateSandbox", s.pingSandbox), // nothing of a sandbox can change here
	}
}

func (s *service) findSandbox(id string) (*sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandbox == nil || s.sandbox.id != id {
		return nil, errdefs.NotFound("sandbox %s not found", id)
	}
	return s.sandbox, nil
}

func (s *service) createSandbox(_ context.Context, r *taskapi.CreateSandboxRequest) (*wire.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandbox != nil {
		return nil, errdefs.AlreadyExists("sandbox %s exists already", s.sandbox.id)
	}
	s.sandbox = &sandbox{id: r.SandboxID, createdAt: time.Now(), ended: make(chan struct{})}
	return &wire.Empty{}, nil
}

func (s *service) startSandbox(_ context.Context, r *taskapi.SandboxRequest) (*taskapi.StartSandboxResponse, error) {
	b, err := s.findSandbox(r.SandboxID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started {
		return nil, errdefs.FailedPrecondition("sandbox %s is started already", b.id)
	}
	b.started = true
	s.settle(settleAfterStart)
	return &taskapi.StartSandboxResponse{Pid: uint32(os.Getpid()), CreatedAt: wire.At(b.createdAt)}, nil
}

func (s *service) platform(_ context.Context, r *taskapi.SandboxRequest) (*taskapi.PlatformResponse, error) {
	if _, err := s.findSandbox(r.SandboxID); err != nil {
		return nil, err
	}
	return &taskapi.PlatformResponse{Platform: &taskapi.Platform{OS: goruntime.GOOS, Architecture: goruntime.GOARCH}}, nil
}

// stopSandbox ends every container that still runs, and waits for that.
func (s *service) stopSandbox(ctx context.Context, r *taskapi.StopSandboxRequest) (*wire.Empty, error) {
	b, err := s.findSandbox(r.SandboxID)
	if err != nil {
		return nil, err
	}
	if r.TimeoutSecs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.TimeoutSecs)*time.Second)
		defer cancel()
	}
	for _, c := range s.all() {
		p, err := c.process("")
		if err != nil {
			continue
		}
		release := s.reaper.Hold()
		err = c.Kill(ctx, syscall.SIGKILL, true)
		release()
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return nil, errdefs.Unavailable("sandbox %s: container %s does not die: %w", b.id, c.id, ctx.Err())
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exitedAt.IsZero() {
		b.exitedAt = time.Now()
		close(b.ended)
	}
	return &wire.Empty{}, nil
}

// all lists the containers that are made.
func (s *service) all() []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*container
	for _, c := range s.containers {
		if c != nil {
			list = append(list, c)
		}
	}
	return list
}

func (s *service) waitSandbox(ctx context.Context, r *taskapi.SandboxRequest) (*taskapi.WaitResponse, error) {
	b, err := s.findSandbox(r.SandboxID)
	if err != nil {
		return nil, err
	}
	select {
	case <-b.ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return &taskapi.WaitResponse{ExitedAt: wire.At(b.exitedAt)}, nil
}

func (s *service) sandboxStatus(_ context.Context, r *taskapi.SandboxStatusRequest) (*taskapi.SandboxStatusResponse, error) {
	b, err := s.findSandbox(r.SandboxID)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	resp := &taskapi.SandboxStatusResponse{SandboxID: b.id, Pid: uint32(os.Getpid()), State: taskapi.SandboxNotReady, CreatedAt: wire.At(b.createdAt)}
	if b.started && b.exitedAt.IsZero() {
		resp.State = taskapi.SandboxReady
	}
	if !b.exitedAt.IsZero() {
		resp.ExitedAt = wire.At(b.exitedAt)
	}
	return resp, nil
}

func (s *service) pingSandbox(_ context.Context, r *taskapi.SandboxRequest) (*wire.Empty, error) {
	_, err := s.findSandbox(r.SandboxID)
	return &wire.Empty{}, err
}

// shutdownSandbox ends the shim.
func (s *service) shutdownSandbox(ctx context.Context, r *taskapi.SandboxRequest) (*wire.Empty, error) {
	if b, err := s.findSandbox(r.SandboxID); err == nil && b.isUp() {
		if _, err := s.stopSandbox(ctx, &taskapi.StopSandboxRequest{SandboxID: r.SandboxID}); err != nil {
			return nil, err
		}
	}
	return s.Shutdown(ctx, &taskapi.ShutdownRequest{ID: r.SandboxID})
}

// sandboxMetrics has no counters of its own to tell: each container has its own.
func (s *service) sandboxMetrics(_ context.Context, r *taskapi.SandboxRequest) (*taskapi.SandboxMetricsResponse, error) {
	if _, err := s.findSandbox(r.SandboxID); err != nil {
		return nil, err
	}
	return &taskapi.SandboxMetricsResponse{Metrics: &taskapi.Metric{Timestamp: wire.At(time.Now()), ID: r.SandboxID}}, nil
}
