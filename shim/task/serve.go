package task

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/shim/event"
	"github.com/conex-containers/conex/shim/reaper"
)

// Serve is the shim: it serves the sockets that it inherited until Shutdown ends the process. It returns only with
// an error. What it logs goes to stderr: the bundle's shim.log, or containerd's FIFO.
func Serve(cfg Config) error {
	if _, err := ids.Parse(cfg.ID); err != nil {
		return err
	}
	s := newService(cfg)
	s.preload()
	// Executed through a descriptor, the process would be called by its number in ps (proc_pid_comm(5)).
	_ = os.WriteFile("/proc/self/comm", []byte("conex-shim"), 0)
	for _, name := range ownEnv {
		_ = os.Unsetenv(name) // it is for this process, not for hooks, loggers and other runtimes
	}
	s.log = logging.New(stderr{}, cfg.LogLevel, false).With("container", cfg.ID)
	tasks, err := inherited[*net.UnixListener](shim.FDTask, "task socket")
	if err != nil {
		return err
	}
	if cfg.NetNS {
		s.netns = os.NewFile(shim.FDNetNS, "netns")
		unix.CloseOnExec(shim.FDNetNS)
	}
	if s.reaper, err = reaper.New(s.log); err != nil {
		return err
	}
	go s.reaper.Run()
	methods := s.methods()
	services := map[string]ttrpc.Methods{taskapi.ServiceV2: methods, taskapi.ServiceV3: methods}
	failed := make(chan error, 2)
	if cfg.Containerd != nil {
		services[taskapi.ServiceSandbox] = s.sandboxMethods()
		s.events = event.New(cfg.Containerd.Events, cfg.Namespace, cfg.Bundle, s.log)
	} else {
		streams, err := inherited[*net.UnixListener](shim.FDStream, "stream socket")
		if err != nil {
			return err
		}
		go func() { failed <- s.serveStreams(streams) }()
	}
	go func() { failed <- ttrpc.NewServer(services).Serve(logging.Into(context.Background(), s.log), tasks) }()
	return <-failed
}

// ownEnv tunes the Go runtime of the shim alone.
var ownEnv = []string{"GOMAXPROCS", "GOGC", "GOMEMLIMIT"}

// stderr writes without waiting: it may be a FIFO that nobody reads.
type stderr struct{}

func (stderr) Write(p []byte) (int, error) {
	_, _ = unix.Write(2, p)
	return len(p), nil
}

// inherited turns an inherited descriptor into the listener that it is.
func inherited[L net.Listener](fd int, name string) (l L, err error) {
	file := os.NewFile(uintptr(fd), name)
	defer func() { _ = file.Close() }()
	listener, err := net.FileListener(file)
	if err != nil {
		return l, fmt.Errorf("descriptor %d must be the %s: %w", fd, name, err)
	}
	l, ok := listener.(L)
	if !ok {
		return l, errdefs.InvalidArgument("descriptor %d must be the %s, a unix socket", fd, name)
	}
	if u, ok := listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return l, nil
}

// methods is the table of the task service.
func (s *service) methods() ttrpc.Methods {
	return ttrpc.Methods{
		"State":      unary(s, "State", s.State),
		"Create":     unary(s, "Create", s.Create),
		"Start":      unary(s, "Start", s.Start),
		"Delete":     unary(s, "Delete", s.Delete),
		"Pids":       unary(s, "Pids", s.Pids),
		"Pause":      unary(s, "Pause", s.Pause),
		"Resume":     unary(s, "Resume", s.Resume),
		"Checkpoint": unary(s, "Checkpoint", s.Checkpoint),
		"Kill":       unary(s, "Kill", s.Kill),
		"Exec":       unary(s, "Exec", s.Exec),
		"ResizePty":  unary(s, "ResizePty", s.ResizePty),
		"CloseIO":    unary(s, "CloseIO", s.CloseIO),
		"Update":     unary(s, "Update", s.Update),
		"Wait":       unary(s, "Wait", s.Wait),
		"Stats":      unary(s, "Stats", s.Stats),
		"Connect":    unary(s, "Connect", s.Connect),
		"Shutdown":   unary(s, "Shutdown", s.Shutdown),
	}
}

// unary wraps a handler for ttrpc: errors get their class on the wire, and a panic becomes an error.
func unary[T any, Q wire.PointerTo[T], A wire.Message](s *service, name string, handle func(context.Context, Q) (A, error)) ttrpc.Method {
	return ttrpc.Unary(func(ctx context.Context, req Q) (resp A, err error) {
		defer s.rescue(name, &err)
		resp, err = handle(ctx, req)
		if err != nil {
			return resp, onWire(err)
		}
		return resp, nil
	})
}

// rescue keeps a panic of one handler from ending the shim, and with it the record of the container.
func (s *service) rescue(name string, err *error) {
	p := recover()
	if p == nil {
		return
	}
	s.log.Error("panic", "op", name, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	if err != nil {
		*err = onWire(errors.New("the shim's handler panicked, see its log"))
	}
}
