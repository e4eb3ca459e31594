package task_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/shim"
	"github.com/conex-containers/conex/manager/task"
)

func TestDaemonComesBack(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		pid := h.run(h.request("stays", sh("i=0; while :; do i=$((i+1)); echo $i; usleep 10000; done")))
		h.run(h.request("ends", sh("usleep 300000; exit 7")))
		if _, err := h.svc.Exec(ctx, nsName, "stays", task.Exec{ID: "e", Process: sh("usleep 300000; exit 8").Process}); err != nil {
			t.Fatal(err)
		}
		h.create(h.request("waits", spec("/bin/true")))
		time.Sleep(50 * time.Millisecond)
		_ = h.svc.Close() // as kill -9: the shims are told nothing
		h.forgetExits()
		time.Sleep(1500 * time.Millisecond)

		recovered := h.open()
		byID := map[string]task.Recovered{}
		for _, r := range recovered {
			byID[r.ID] = r
			if r.NetNS == nil && r.ID != "ends" {
				t.Errorf("%s has no network namespace", r.ID)
			} else if r.NetNS != nil {
				_ = r.NetNS.Close()
			}
		}
		if len(recovered) != 3 {
			t.Fatalf("recovered %+v", recovered)
		}
		if st := byID["stays"].Status; st.State != task.StateRunning || st.Pid != pid {
			t.Errorf("stays: %+v", st)
		}
		if st := byID["ends"].Status; st.State != task.StateStopped || st.ExitCode != 7 {
			t.Errorf("ends: %+v", st)
		}
		if st := byID["waits"].Status; st.State != task.StateCreated {
			t.Errorf("waits: %+v", st)
		}
		if e := h.exit("ends", ""); e.Code != 7 || e.Lost {
			t.Errorf("exit %+v", e)
		}
		if e := h.exit("stays", "e"); e.Code != 8 {
			t.Errorf("exit of the exec %+v", e)
		}
		if err := h.svc.Kill(ctx, nsName, "stays", "", syscall.SIGKILL, false); err != nil {
			t.Error(err)
		}
		if e := h.exit("stays", ""); e.Code != 137 || e.Pid != pid {
			t.Errorf("exit %+v", e)
		}
		want := 1
		for line := range strings.Lines(h.logged("stays")["stdout"]) {
			if line != fmt.Sprintf("%d\n", want) {
				t.Fatalf("log line %q, want %d", line, want)
			}
			want++
		}
		if want < 5 {
			t.Errorf("only %d lines", want)
		}
		for _, id := range []string{"stays", "ends", "waits"} {
			h.delete(id)
		}
	})
}

func TestShimKilled(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		pid := h.run(h.request("a", spec("/bin/sleep", "1000")))
		if _, err := h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e", Process: spec("/bin/sleep", "1000").Process}); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(h.shimPid("a"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if e := h.exit("a", ""); !e.Lost || e.Code != 137 || e.Pid != pid {
			t.Errorf("exit %+v", e)
		}
		if e := h.exit("a", "e"); !e.Lost || e.Code != 137 {
			t.Errorf("exit %+v", e)
		}
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(data) > 0 {
			t.Errorf("the process %d is alive: %q", pid, data)
		}
		if st, _ := h.svc.Status(ctx, nsName, "a", ""); st.State != task.StateStopped {
			t.Errorf("%+v", st)
		}
		h.delete("a")
	})
}

func TestShimKilledWhileDaemonIsAway(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		h.run(h.request("a", spec("/bin/sleep", "1000")))
		shim := h.shimPid("a")
		_ = h.svc.Close()
		if err := syscall.Kill(shim, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(shim, &status, 0, nil)
		if recovered := h.open(); len(recovered) != 0 {
			t.Errorf("recovered %+v", recovered)
		}
	})
}

func TestDeafShimIsSwept(t *testing.T) {
	h := newHarness(t, "")
	h.run(h.request("a", spec("/bin/sleep", "1000")))
	shim := h.shimPid("a")
	_ = h.svc.Close()
	if err := syscall.Kill(shim, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if recovered := h.open(); len(recovered) != 0 {
		t.Errorf("recovered %+v", recovered)
	}
	if err := syscall.Kill(shim, 0); err == nil {
		t.Error("the shim is alive")
	}
}

// TestLongPath has a directory whose sockets do not fit into sockaddr_un.
func TestLongPath(t *testing.T) {
	h := newHarness(t, "")
	_ = h.svc.Close()
	short := h.root
	h.root = filepath.Join(short, strings.Repeat("long", 30))
	h.open()
	req := h.request("a", sh("echo there"))
	c, stream := newStream(t, bothStreams)
	req.Streams = []task.Stream{stream}
	h.run(req)
	if out, _ := c.rest(); out != "there\n" {
		t.Errorf("got %q", out)
	}
	h.exit("a", "")
	h.delete("a")
	h.root = short
}

// TestClientsSurviveTheDaemon: an attached session goes on while no daemon is there.
func TestClientsSurviveTheDaemon(t *testing.T) {
	h := newHarness(t, "")
	c, stream := newStream(t, shim.Header{Stdin: true, Stdout: true})
	req := h.request("a", spec("/bin/cat"))
	req.OpenStdin, req.Streams = true, []task.Stream{stream}
	h.run(req)
	_ = h.svc.Close()
	_, _ = c.WriteString("nobody home\n")
	c.until("nobody home")
	h.open()
	h.delete("a")
}
