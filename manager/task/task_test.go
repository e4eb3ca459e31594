package task_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/manager/task"
)

var ctx = context.Background()

func TestRun(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		c, stream := newStream(t, bothStreams)
		req := h.request("a", sh("echo out; echo err >&2; exit 7"))
		req.Streams = []task.Stream{stream}
		pid := h.create(req)
		if st, err := h.svc.Status(ctx, nsName, "a", ""); err != nil || st.State != task.StateCreated || st.Pid != pid {
			t.Fatalf("%+v, %v", st, err)
		}
		h.start("a")
		stdout, stderr := c.rest()
		if stdout != "out\n" || stderr != "err\n" {
			t.Errorf("client got %q and %q", stdout, stderr)
		}
		e := h.exit("a", "")
		if e.Code != 7 || e.Pid != pid || e.Lost || e.OOMKilled || time.Since(e.At) > time.Minute {
			t.Errorf("exit %+v", e)
		}
		if got := h.logged("a"); got["stdout"] != "out\n" || got["stderr"] != "err\n" {
			t.Errorf("log %q", got)
		}
		if st, _ := h.svc.Status(ctx, nsName, "a", ""); st.State != task.StateStopped || st.ExitCode != 7 {
			t.Errorf("%+v", st)
		}
		if err := h.svc.Kill(ctx, nsName, "a", "", syscall.SIGTERM, false); !errdefs.IsNotFound(err) {
			t.Errorf("kill of an ended task: %v", err)
		}
		h.delete("a")
		if err := h.svc.Delete(ctx, nsName, "a"); !errdefs.IsNotFound(err) {
			t.Errorf("second delete: %v", err)
		}
	})
}

func TestStdin(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		c, stream := newStream(t, shim.Header{Stdin: true, Stdout: true, CloseStdin: true})
		req := h.request("a", spec("/bin/cat"))
		req.OpenStdin, req.Streams = true, []task.Stream{stream}
		h.run(req)
		if _, err := c.WriteString("through and back"); err != nil {
			t.Fatal(err)
		}
		c.closeWrite()
		if out, _ := c.rest(); out != "through and back" {
			t.Errorf("got %q", out)
		}
		if e := h.exit("a", ""); e.Code != 0 {
			t.Errorf("exit %+v", e)
		}
		h.delete("a")

		req = h.request("b", spec("/bin/cat"))
		req.OpenStdin = true
		h.run(req)
		if err := h.svc.CloseStdin(ctx, nsName, "b", ""); err != nil {
			t.Fatal(err)
		}
		h.exit("b", "")
		h.delete("b")
	})
}

func TestTerminal(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		c, stream := newStream(t, shim.Header{Stdin: true, Stdout: true, Stderr: true, DetachKeys: []byte{16, 17}})
		s := spec("/bin/sh")
		s.Process.ConsoleSize = &specs.Box{Width: 91, Height: 37}
		req := h.request("a", s)
		req.Terminal, req.OpenStdin, req.Streams = true, true, []task.Stream{stream}
		h.run(req)
		_, _ = c.WriteString("stty size; tty\n")
		c.until("37 91\r\n/dev/")
		if err := h.svc.Resize(ctx, nsName, "a", "", 120, 40); err != nil {
			t.Fatal(err)
		}
		_, _ = c.WriteString("stty size\n")
		c.until("40 120")
		_, _ = c.WriteString("\x10\x11")
		c.rest0()

		c, stream = newStream(t, shim.Header{Stdin: true, Stdout: true})
		if err := h.svc.Attach(ctx, nsName, "a", stream); err != nil {
			t.Fatal(err)
		}
		_, _ = c.WriteString("trap 'echo caught' INT; sleep 100\n")
		c.until("sleep 100")
		time.Sleep(100 * time.Millisecond)
		_, _ = c.WriteString("\x03")
		c.until("caught")
		_, _ = c.WriteString("exit 5\n")
		if e := h.exit("a", ""); e.Code != 5 {
			t.Errorf("exit %+v", e)
		}
		h.delete("a")
	})
}

// rest0 reads raw output to its end.
func (c *client) rest0() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4096)
	for {
		if n, err := c.Read(buf); n == 0 || err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Fatal("the stream does not end")
			}
			return
		}
	}
}

func TestStartErrors(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		_, err := h.svc.Create(ctx, h.request("a", spec("/bin/none")))
		if err == nil {
			err = h.svc.Start(ctx, nsName, "a")
			h.delete("a")
		}
		if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "/bin/none") {
			t.Errorf("missing program: %v", err)
		}
		_, err = h.svc.Create(ctx, h.request("b", spec("/etc")))
		if err == nil {
			err = h.svc.Start(ctx, nsName, "b")
			h.delete("b")
		}
		if !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EISDIR) {
			t.Errorf("a directory as program: %v", err)
		}
		bad := spec("/bin/true")
		bad.Mounts = append(bad.Mounts, specs.Mount{Destination: "/x", Type: "bind", Source: "/nowhere/at/all", Options: []string{"bind"}})
		if _, err := h.svc.Create(ctx, h.request("c", bad)); err == nil {
			t.Error("a missing bind source is no error")
		} else {
			t.Log(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, e := range h.exits {
			t.Errorf("exit of a process that never started: %+v", e)
		}
	})
}

func TestUnknownNames(t *testing.T) {
	h := newHarness(t, "")
	if _, err := h.svc.Create(ctx, task.Create{Namespace: nsName, ID: "../x", Spec: spec("/bin/true")}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("bad id: %v", err)
	}
	if _, err := h.svc.Create(ctx, task.Create{Namespace: nsName, ID: "x", Runtime: "nope", Spec: spec("/bin/true")}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("bad runtime: %v", err)
	}
	if err := h.svc.Start(ctx, nsName, "x"); !errdefs.IsNotFound(err) {
		t.Errorf("start: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		const n = 20
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				id := fmt.Sprintf("c%d", i)
				c, stream := newStream(t, bothStreams)
				req := h.request(id, sh(fmt.Sprintf("echo %d; exit %d", i, i)))
				req.Streams = []task.Stream{stream}
				if _, err := h.svc.Create(ctx, req); err != nil {
					t.Error(err)
					return
				}
				if err := h.svc.Start(ctx, nsName, id); err != nil {
					t.Error(err)
					return
				}
				if out, _ := c.rest(); out != fmt.Sprintf("%d\n", i) {
					t.Errorf("%s: got %q", id, out)
				}
			})
		}
		wg.Wait()
		for i := range n {
			id := fmt.Sprintf("c%d", i)
			if e := h.exit(id, ""); e.Code != i {
				t.Errorf("exit %+v", e)
			}
			wg.Go(func() {
				if err := h.svc.Delete(ctx, nsName, id); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestPauseUpdateStats(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		pid := h.run(h.request("a", sh("while :; do echo x; usleep 10000; done")))
		pids, err := h.svc.Pids(ctx, nsName, "a")
		if err != nil || len(pids) == 0 || pids[0] != pid {
			t.Errorf("pids %v, %v", pids, err)
		}
		if err := h.svc.Pause(ctx, nsName, "a"); err != nil {
			t.Fatal(err)
		}
		if st, _ := h.svc.Status(ctx, nsName, "a", ""); st.State != task.StatePaused {
			t.Errorf("%+v", st)
		}
		time.Sleep(50 * time.Millisecond)
		before := len(h.logged("a")["stdout"])
		time.Sleep(200 * time.Millisecond)
		if after := len(h.logged("a")["stdout"]); after != before {
			t.Errorf("it writes while it is paused: %d then %d", before, after)
		}
		if err := h.svc.Resume(ctx, nsName, "a"); err != nil {
			t.Fatal(err)
		}
		limit := int64(64 << 20)
		if err := h.svc.Update(ctx, nsName, "a", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
			t.Fatal(err)
		}
		stats, err := h.svc.Stats(ctx, nsName, "a")
		if err != nil || stats.MemoryStats.Usage.Limit != uint64(limit) || stats.CpuStats.CpuUsage.TotalUsage == 0 {
			t.Errorf("stats %+v, %v", stats, err)
		}
		h.delete("a")
	})
}

func TestOOM(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		s := sh("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
		limit := int64(16 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
		h.run(h.request("a", s))
		if e := h.exit("a", ""); e.Code != 137 || !e.OOMKilled {
			t.Errorf("exit %+v", e)
		}
		h.delete("a")
	})
}

func TestOverlayRootfs(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		for _, d := range []string{"fs", "work"} {
			if err := os.Mkdir(filepath.Join(h.root, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s := sh("echo new > /etc/new; cat /etc/new")
		s.Root = &specs.Root{Path: "rootfs"}
		req := h.request("a", s)
		req.Rootfs = overlay(h)
		h.run(req)
		if e := h.exit("a", ""); e.Code != 0 {
			t.Errorf("exit %+v, %q", e, h.logged("a"))
		}
		if data, _ := os.ReadFile(filepath.Join(h.root, "fs/etc/new")); string(data) != "new\n" {
			t.Errorf("the upper directory has %q", data)
		}
		h.delete("a")
	})
}

// TestNetNS hands a namespace over, and finds it again after the daemon's restart.
func TestNetNS(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		var netns *os.File
		err := namespace.Throwaway(func() (err error) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			netns, err = os.Open("/proc/thread-self/ns/net")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = netns.Close() }()
		req := h.request("a", sh("readlink /proc/self/ns/net; exec sleep 1000"))
		req.NetNS = netns
		c, stream := newStream(t, bothStreams)
		req.Streams = []task.Stream{stream}
		h.run(req)
		var st unix.Stat_t
		if err := unix.Fstat(int(netns.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		c.until(fmt.Sprintf("net:[%d]\n", st.Ino))
		_ = h.svc.Close()
		recovered := h.open()
		if len(recovered) != 1 || recovered[0].NetNS == nil {
			t.Fatalf("recovered %+v", recovered)
		}
		var again unix.Stat_t
		if err := unix.Fstat(int(recovered[0].NetNS.Fd()), &again); err != nil || again.Ino != st.Ino {
			t.Errorf("namespace %d after %d, %v", again.Ino, st.Ino, err)
		}
		_ = recovered[0].NetNS.Close()
		h.delete("a")
	})
}

func TestLimitsOfFilesAreTheHosts(t *testing.T) {
	h := newHarness(t, "")
	s := sh("ulimit -Sn")
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1234, Hard: 4321}}
	h.run(h.request("a", s))
	h.exit("a", "")
	if got := h.logged("a")["stdout"]; got != "1234\n" {
		t.Errorf("soft limit %q", got)
	}
	h.delete("a")
}
