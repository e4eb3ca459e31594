package container_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	types "github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

func TestAttachBeforeStart(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("", func(r *types.CreateRequest) { r.OpenStdin, r.StdinOnce, r.AttachStdin = true, true, true }, "sh", "-c", "cat; echo err >&2; exit 2")
	hijack, c := hijacker(t)
	must(t, w.ContainerAttach(t.Context(), id, docker.AttachOptions{Stdin: true, Stdout: true, Stderr: true, Stream: true}, hijack))
	_, err := io.WriteString(c, "through\n")
	must(t, err)
	result := w.exit(id)
	must(t, w.ContainerStart(t.Context(), id))
	must(t, c.Conn.(*net.UnixConn).CloseWrite())
	out, errs := c.demultiplexed()
	if out != "through\n" || errs != "err\n" {
		t.Errorf("stdout %q stderr %q", out, errs)
	}
	if code := result(); code != 2 {
		t.Errorf("exit code %d", code)
	}
}

// A client starts the container as soon as its attach is answered, and the process is over in no time.
func TestStartRightAfterTheAnswerToAttach(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("", nil, "echo", "short")
	take, c := hijacker(t)
	result := w.exit(id)
	started := make(chan error, 1)
	answered := func(tty bool) (net.Conn, []byte, error) {
		go func() { started <- w.ContainerStart(context.Background(), id) }()
		time.Sleep(500 * time.Millisecond) // enough for a whole run, if it is let
		return take(tty)
	}
	must(t, w.ContainerAttach(t.Context(), id, docker.AttachOptions{Stdout: true, Stream: true}, answered))
	if out, _ := c.demultiplexed(); out != "short\n" {
		t.Errorf("output %q", out)
	}
	must(t, <-started)
	result()
}

func TestAttachHangsUpBeforeStart(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("", nil, "echo", "alone")
	hijack, c := hijacker(t)
	must(t, w.ContainerAttach(t.Context(), id, docker.AttachOptions{Stdout: true, Stream: true}, hijack))
	must(t, c.Close())
	if code := w.run(id); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTerminal(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("", func(r *types.CreateRequest) {
		r.Tty, r.OpenStdin = true, true
		r.HostConfig.ConsoleSize = [2]uint{33, 99}
	}, "sh", "-c", "stty size; read x; stty size; echo got $x")
	hijack, c := hijacker(t)
	must(t, w.ContainerAttach(t.Context(), id, docker.AttachOptions{Stdin: true, Stdout: true, Stderr: true, Stream: true}, hijack))
	result := w.exit(id)
	must(t, w.ContainerStart(t.Context(), id))
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "33 99\r\n" {
		t.Errorf("first size %q %v", line, err)
	}
	must(t, w.ContainerResize(t.Context(), id, 20, 40))
	_, err := io.WriteString(c, "word\n")
	must(t, err)
	rest, err := io.ReadAll(r)
	must(t, err)
	if !strings.Contains(string(rest), "20 40\r\ngot word\r\n") {
		t.Errorf("rest %q", rest)
	}
	if code := result(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("host", func(r *types.CreateRequest) { r.Env = []string{"A=1"} }, "sleep", "100")
	if _, err := w.ExecCreate(t.Context(), id, &types.ExecCreateRequest{Cmd: []string{"true"}}); !errdefs.IsConflict(err) {
		t.Errorf("exec in a stopped container: %v", err)
	}
	must(t, w.ContainerStart(t.Context(), id))
	exec := func(req types.ExecCreateRequest, input string) (string, string, types.ExecInspectResponse) {
		t.Helper()
		req.AttachStdout, req.AttachStderr = true, true
		x, err := w.ExecCreate(t.Context(), id, &req)
		must(t, err)
		hijack, c := hijacker(t)
		must(t, w.ExecStart(t.Context(), x, &types.ExecStartRequest{}, hijack))
		_, _ = io.WriteString(c, input) // one that did not start has hung up already
		_ = c.Conn.(*net.UnixConn).CloseWrite()
		out, errs := c.demultiplexed()
		info, err := w.ExecInspect(t.Context(), x)
		must(t, err)
		return out, errs, info
	}
	out, errs, info := exec(types.ExecCreateRequest{Cmd: []string{"sh", "-c", "cat; echo $A$B >&2; id -u; pwd; exit 6"}, Env: []string{"B=2"}, User: "app", WorkingDir: "/tmp", AttachStdin: true}, "in")
	if out != "in1000\n/tmp\n" || errs != "12\n" {
		t.Errorf("stdout %q stderr %q", out, errs)
	}
	if info.Running || info.ExitCode == nil || *info.ExitCode != 6 {
		t.Errorf("inspect %+v", info)
	}
	if err := w.ExecStart(t.Context(), info.ID, &types.ExecStartRequest{}, nil); !errdefs.IsConflict(err) {
		t.Errorf("second start: %v", err)
	}
	out, _, info = exec(types.ExecCreateRequest{Cmd: []string{"nosuch"}}, "")
	if !strings.Contains(out, "executable file not found") || info.ExitCode == nil || *info.ExitCode != 127 {
		t.Errorf("missing program: %q %+v", out, info)
	}
	x, err := w.ExecCreate(t.Context(), id, &types.ExecCreateRequest{Cmd: []string{"touch", "/detached"}})
	must(t, err)
	must(t, w.ExecStart(t.Context(), x, &types.ExecStartRequest{Detach: true}, nil))
	eventually(t, "the detached one", func() bool {
		info, err := w.ExecInspect(t.Context(), x)
		return err == nil && info.ExitCode != nil && *info.ExitCode == 0
	})
	if _, err := w.ExecInspect(t.Context(), "nosuch"); !errdefs.IsNotFound(err) {
		t.Errorf("unknown exec: %v", err)
	}
}

func TestFollowLogs(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("", func(r *types.CreateRequest) {
		r.HostConfig.LogConfig = types.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "4k", "max-file": "100"}}
	}, "sh", "-c", "for i in $(/bin/busybox seq 500); do echo line $i; done")
	r, _, err := w.ContainerLogs(t.Context(), id, docker.LogsOptions{Stdout: true, Follow: true, Tail: -1})
	must(t, err)
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("follow of what never ran: %v", err)
	}
	must(t, w.ContainerStart(t.Context(), id))
	r, _, err = w.ContainerLogs(t.Context(), id, docker.LogsOptions{Stdout: true, Follow: true, Tail: -1})
	must(t, err)
	n := 0
	for {
		l, err := r.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		n++
		if want := fmt.Sprintf("line %d\n", n); string(l.Line) != want {
			t.Fatalf("got %q, want %q", l.Line, want)
		}
	}
	if n != 500 {
		t.Errorf("%d lines, want 500", n)
	}
	tail, _, err := w.ContainerLogs(t.Context(), id, docker.LogsOptions{Stdout: true, Tail: 150})
	must(t, err)
	if l, err := tail.Next(); err != nil || string(l.Line) != "line 351\n" {
		t.Errorf("tail: %q %v", l.Line, err)
	}
	must(t, tail.Close())
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("sick", func(r *types.CreateRequest) {
		r.Healthcheck = &types.HealthConfig{Test: []string{"CMD-SHELL", "echo looked; test -f /ok"}, Interval: 30 * time.Millisecond, Retries: 2}
	}, "sleep", "100")
	must(t, w.ContainerStart(t.Context(), id))
	health := func() types.Health {
		info, err := w.ContainerInspect(t.Context(), id, false)
		must(t, err)
		return *info.State.Health
	}
	eventually(t, "unhealthy", func() bool { return health().Status == types.Unhealthy })
	if h := health(); len(h.Log) == 0 || h.Log[0].Output != "looked\n" || h.Log[0].ExitCode != 1 || h.FailingStreak < 2 {
		t.Errorf("health %+v", h)
	}
	x, err := w.ExecCreate(t.Context(), id, &types.ExecCreateRequest{Cmd: []string{"touch", "/ok"}})
	must(t, err)
	must(t, w.ExecStart(t.Context(), x, &types.ExecStartRequest{Detach: true}, nil))
	eventually(t, "healthy", func() bool { return health().Status == types.Healthy })
	list, err := w.ContainerList(t.Context(), docker.ListOptions{Filters: docker.Filters{"health": {"healthy": true}}})
	must(t, err)
	if len(list) != 1 || !strings.HasSuffix(list[0].Status, " (healthy)") {
		t.Errorf("list %+v", list)
	}
}

func TestViewsOfARunningContainer(t *testing.T) {
	w := newWorld(t)
	w.busybox()
	id := w.create("busy", func(r *types.CreateRequest) { r.HostConfig.Memory = 64 << 20 }, "sh", "-c", "sleep 100 & while :; do :; done")
	must(t, w.ContainerStart(t.Context(), id))
	eventually(t, "both processes", func() bool {
		top, err := w.ContainerTop(t.Context(), id, "")
		must(t, err)
		return len(top.Processes) == 2 && top.Titles[7] == "CMD" && top.Processes[0][0] == "root"
	})
	next, err := w.ContainerStats(t.Context(), id, true)
	must(t, err)
	eventually(t, "time used", func() bool {
		st, err := next(context.Background())
		must(t, err)
		return st.CPUStats.CPUUsage.TotalUsage > 0 && st.MemoryStats.Limit == 64<<20 && st.PidsStats.Current == 2
	})
	_, err = w.ContainerUpdate(t.Context(), id, &types.UpdateConfig{Resources: types.Resources{Memory: 32 << 20, MemorySwap: 64 << 20}})
	must(t, err)
	st, err := next(t.Context())
	must(t, err)
	if st.MemoryStats.Limit != 32<<20 {
		t.Errorf("limit after the update: %d", st.MemoryStats.Limit)
	}
}
