package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/manager/task"
)

// ExecCreate prepares a process in a running container.
func (s *Service) ExecCreate(ctx context.Context, ref string, req *types.ExecCreateRequest) (string, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return "", err
	}
	if req == nil || len(req.Cmd) == 0 || req.Cmd[0] == "" {
		return "", errdefs.InvalidArgument("No exec command specified")
	}
	if err := runnable(c); err != nil {
		return "", err
	}
	if _, err := detachKeys(req.DetachKeys); err != nil {
		return "", err
	}
	e := &execution{id: ids.New().String(), container: c, req: *req, ended: make(chan struct{})}
	s.execs.add(e)
	rec := c.record()
	s.publish(&rec, events.Action("exec_create: "+strings.Join(req.Cmd, " ")), "execID", e.id)
	return e.id, nil
}

func runnable(c *Container) error {
	switch c.phase() {
	case types.StateRunning:
		return nil
	case types.StatePaused:
		return errdefs.Conflict("container %s is paused, unpause the container before exec", c.id())
	case types.StateRestarting:
		return errdefs.Conflict("container %s is restarting, wait until the container is running", c.id())
	}
	return errdefs.Conflict("container %s is not running", c.id())
}

// ExecStart starts a prepared process. Attached, the client's connection is handed to the shim; a failure after the
// hijack is written to the client in Docker's way, and inspect tells exit code 126 or 127.
func (s *Service) ExecStart(ctx context.Context, id string, req *types.ExecStartRequest, hijack func(tty bool) (net.Conn, []byte, error)) error {
	e, err := s.execs.find(id)
	if err != nil {
		return err
	}
	if err := runnable(e.container); err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(s.context(ctx, e.container))
	size := e.req.ConsoleSize
	if req != nil && req.ConsoleSize != nil {
		size = req.ConsoleSize
	}
	if req != nil && req.Detach {
		return s.runExec(ctx, e, size, nil)
	}
	conn, buffered, err := hijack(e.req.Tty)
	if err != nil {
		s.failExec(e, err)
		return err
	}
	keys, err := detachKeys(e.req.DetachKeys)
	if err != nil {
		keys = nil
	}
	h := shim.Header{
		ExecID: id, Stdin: e.req.AttachStdin, Stdout: e.req.AttachStdout, Stderr: e.req.AttachStderr, CloseStdin: true, Buffered: buffered,
	}
	if e.req.Tty {
		h.DetachKeys = keys
	}
	return s.runAttached(ctx, e, size, conn, h)
}

// runAttached keeps a second descriptor of the client's connection until the process runs, to tell it a failure.
func (s *Service) runAttached(ctx context.Context, e *execution, size *[2]uint, conn net.Conn, h shim.Header) error {
	f, err := connFile(conn)
	if err != nil {
		s.failExec(e, err)
		return err
	}
	copied, err := duplicate(f)
	if err != nil {
		_ = f.Close()
		s.failExec(e, err)
		return err
	}
	defer func() { _ = copied.Close() }()
	if err := s.runExec(ctx, e, size, &task.Stream{Header: h, Conn: f}); err != nil {
		text := []byte(err.Error() + "\r\n")
		if !e.req.Tty {
			text = frame("stdout", text) // where dockerd writes it
		}
		// The client may be gone already, and there is nobody else to tell.
		_ = copied.SetWriteDeadline(time.Now().Add(lastWordBound))
		_, _ = copied.Write(text)
		endStream(copied)
		logging.From(ctx).Warn("exec did not start", "op", "exec", "err", err)
	}
	return nil
}

// lastWordBound is how long a client may take to read why its exec did not start.
const lastWordBound = 10 * time.Second

// begin marks an exec as started; it starts once.
func (e *execution) begin() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return errdefs.Conflict("exec command %s is already running", e.id)
	}
	if e.started {
		return errdefs.Conflict("exec command %s has already run", e.id)
	}
	e.started, e.running = true, true
	return nil
}

func (s *Service) failExec(e *execution, cause error) {
	e.finish(execExitCode(cause))
}

func execExitCode(err error) int {
	if code := startExitCode(err); code != 128 {
		return code
	}
	return 126
}

// runExec starts the process; stream is the task service's from here on, nil when nobody is attached.
func (s *Service) runExec(ctx context.Context, e *execution, size *[2]uint, stream *task.Stream) error {
	rec, ended := e.container.record(), e.container.end()
	process, err := s.execProcess(ctx, &rec, &e.req, size)
	if err != nil {
		if stream != nil {
			_ = stream.Conn.Close()
		}
		s.failExec(e, err)
		return err
	}
	s.publish(&rec, events.Action("exec_start: "+strings.Join(e.req.Cmd, " ")), "execID", e.id)
	pid, err := s.cfg.Processes.Exec(ctx, s.cfg.Namespace, rec.ID, task.Exec{
		ID: e.id, Process: process, OpenStdin: e.req.AttachStdin, Stream: stream,
	})
	if err != nil {
		s.failExec(e, err)
		if shimGone(err, ended) {
			return errdefs.Conflict("container %s is not running: %w", rec.ID, err)
		}
		if text := err.Error(); strings.Contains(text, startCause) {
			err = brief{"exec failed: " + text[strings.Index(text, startCause):], err}
		}
		return fmt.Errorf("OCI runtime exec failed: %w", err)
	}
	e.mu.Lock()
	e.pid = pid
	e.mu.Unlock()
	return nil
}

// execProcess makes the OCI process of an exec: the container's identity, with what the request changes.
func (s *Service) execProcess(ctx context.Context, rec *Record, req *types.ExecCreateRequest, size *[2]uint) (*specs.Process, error) {
	who, groups := rec.Config.User, rec.HostConfig.GroupAdd
	if req.User != "" {
		who, groups = req.User, nil
	}
	user, err := s.users.lookup(ctx, s, rec, who, groups)
	if err != nil {
		return nil, err
	}
	sec, err := spec.ParseSecurity(rec.HostConfig.SecurityOpt, s.cfg.Spec.NoNewPrivileges)
	if err != nil {
		return nil, err
	}
	hc := rec.HostConfig
	caps, err := spec.Capabilities(hc.CapAdd, hc.CapDrop, hc.Privileged || req.Privileged, s.cfg.Host)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Terminal: req.Tty, Args: req.Cmd, Cwd: req.WorkingDir,
		Env:             spec.Environment(req.Tty, rec.Config.Hostname, user.Home, s.linkEnv(rec), spec.MergeEnv(rec.Config.Env, req.Env)),
		User:            specs.User{UID: user.UID, GID: user.GID, AdditionalGids: user.Groups, Umask: hc.Umask},
		Capabilities:    spec.ProcessCapabilities(caps, user.UID),
		Rlimits:         spec.Rlimits(s.cfg.Spec.Ulimits, hc.Ulimits),
		NoNewPrivileges: sec.NoNewPrivileges,
		ApparmorProfile: sec.AppArmor,
		OOMScoreAdj:     &hc.OomScoreAdj,
	}
	if p.Cwd == "" {
		p.Cwd = rec.Config.WorkingDir
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if req.Tty && size != nil && size[0] > 0 && size[1] > 0 {
		p.ConsoleSize = &specs.Box{Height: size[0], Width: size[1]}
	}
	return p, nil
}

// execExited is told of an exec's end.
func (s *Service) execExited(x task.Exit) {
	e, err := s.execs.find(x.ExecID)
	if err == nil && e.finish(x.Code) {
		rec := e.container.record()
		s.publish(&rec, events.ActionExecDie, "execID", e.id, "exitCode", strconv.Itoa(x.Code))
	}
	s.background(func(ctx context.Context) {
		if err := ignoreNotFound(s.cfg.Processes.DeleteExec(ctx, s.cfg.Namespace, x.ID, x.ExecID)); err != nil {
			s.cfg.Log.Warn("exec: delete", "container", x.ID, "err", err)
		}
	})
}

// ExecResize sets the size of an exec's terminal.
func (s *Service) ExecResize(ctx context.Context, id string, height, width uint16) error {
	e, err := s.execs.find(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	if !running {
		return errdefs.Conflict("exec process is not started or has ended: %s", id)
	}
	return s.cfg.Processes.Resize(ctx, s.cfg.Namespace, e.container.id(), id, width, height)
}

// reportBound is how long the report of an exec's end may take after the end itself.
const reportBound = 5 * time.Second

// ExecInspect tells an exec's state. A client whose stream has just ended asks for the exit code at once, and may be
// faster than the report of the exit. The shim knows of the end before it ends the stream: so it is asked, and when it
// says so the report is waited for.
func (s *Service) ExecInspect(ctx context.Context, id string) (types.ExecInspectResponse, error) {
	e, err := s.execs.find(id)
	if err != nil {
		return types.ExecInspectResponse{}, err
	}
	e.mu.Lock()
	running, known := e.running, e.pid > 0
	e.mu.Unlock()
	if running {
		s.awaitReport(ctx, e, known)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	keys, _ := detachKeys(e.req.DetachKeys)
	privileged := e.req.Privileged
	return types.ExecInspectResponse{
		ID: e.id, Running: e.running, ExitCode: e.code, OpenStdin: e.req.AttachStdin, OpenStdout: e.req.AttachStdout,
		OpenStderr: e.req.AttachStderr, CanRemove: e.code != nil, ContainerID: e.container.id(), DetachKeys: keys, Pid: e.pid,
		ProcessConfig: &types.ExecProcessConfig{
			Tty: e.req.Tty, Entrypoint: e.req.Cmd[0], Arguments: e.req.Cmd[1:], Privileged: &privileged, User: e.req.User,
		},
	}, nil
}

// awaitReport waits until an exec's end is recorded, if the shim says that it has ended, or does not know it any more.
func (s *Service) awaitReport(ctx context.Context, e *execution, known bool) {
	ended, err := s.cfg.Processes.Ended(ctx, s.cfg.Namespace, e.container.id(), e.id)
	if err != nil && !errdefs.IsNotFound(err) {
		logging.From(ctx).Warn("state of an exec", "op", "inspect", "container", e.container.id(), "err", err)
	}
	if !ended && !(known && errdefs.IsNotFound(err)) {
		return
	}
	timer := time.NewTimer(reportBound)
	defer timer.Stop()
	select {
	case <-e.ended:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// duplicate copies a file's descriptor.
func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var out *os.File
	var dupErr error
	err = raw.Control(func(fd uintptr) { out, dupErr = dupFile(fd) })
	return out, errors.Join(err, dupErr)
}
