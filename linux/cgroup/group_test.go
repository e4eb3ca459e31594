package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/base/errdefs"
)

func newGroup(t testing.TB, r *specs.LinuxResources) *Group {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make control groups: run them as root")
	}
	g, err := New(Config{Path: fmt.Sprintf("/conex-test-%d/%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "_")), Resources: r})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.Kill()
		if err := g.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
		for _, dir := range g.Paths() {
			_ = os.Remove(filepath.Dir(dir))
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left", dir)
			}
		}
	})
	return g
}

// start runs a shell in the group: a child that is moved by the slow way, which is enough for a test.
func start(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	var move strings.Builder
	for _, dir := range g.Paths() {
		fmt.Fprintf(&move, "echo $$ > %s/cgroup.procs; ", dir)
	}
	cmd := exec.Command("/bin/sh", "-c", move.String()+"echo in; "+script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var b [3]byte
	if _, err := out.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestLimitsAreWritten(t *testing.T) {
	limit, pids, shares, quota, period := int64(32<<20), int64(17), uint64(512), int64(50000), uint64(100000)
	g := newGroup(t, &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit},
		Pids:   &specs.LinuxPids{Limit: &pids},
		CPU:    &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period},
	})
	want := map[string]map[string]string{
		"memory": {"memory.limit_in_bytes": "33554432"},
		"pids":   {"pids.max": "17"},
		"cpu":    {"cpu.shares": "512", "cpu.cfs_quota_us": "50000"},
	}
	if Unified() {
		want = map[string]map[string]string{"": {"memory.max": "33554432", "pids.max": "17", "cpu.max": "50000 100000"}}
	}
	for controller, files := range want {
		for name, value := range files {
			b, err := os.ReadFile(filepath.Join(g.Paths()[controller], name))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(b)); got != value {
				t.Errorf("%s = %q, want %q", name, got, value)
			}
		}
	}
	pids = 23
	if err := g.Set(&specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &pids}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(g.Paths()[map[bool]string{false: "pids"}[Unified()]], "pids.max"))
	if err != nil || strings.TrimSpace(string(b)) != "23" {
		t.Errorf("pids.max after Set = %q, %v", b, err)
	}
}

func TestKillFreezeAndStats(t *testing.T) {
	g := newGroup(t, nil)
	cmd := start(t, g, "sleep 100 & sleep 100 & wait")
	pids, err := g.Pids()
	if err != nil || len(pids) < 1 {
		t.Fatalf("pids = %v, %v", pids, err)
	}
	if err := g.Freeze(t.Context()); err != nil {
		t.Fatal(err)
	}
	if frozen, err := g.Frozen(); err != nil || !frozen {
		t.Fatalf("frozen = %v, %v", frozen, err)
	}
	if err := g.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := g.Stats(); err != nil || s.PidsStats.Current == 0 {
		t.Errorf("stats = %+v, %v", s, err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("wait: %v, want SIGKILL", err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		if pids, err = g.Pids(); err != nil || len(pids) == 0 || time.Now().After(deadline) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if len(pids) != 0 {
		t.Errorf("pids after Kill: %v", pids)
	}
}

func TestOpenFindsTheGroup(t *testing.T) {
	g := newGroup(t, nil)
	o, err := Open(g.Paths())
	if err != nil {
		t.Fatal(err)
	}
	if !o.Exists() {
		t.Error("the opened group does not exist")
	}
	if _, err := o.OOMKills(); err != nil {
		t.Error(err)
	}
	j, err := o.Join()
	if err != nil {
		t.Fatal(err)
	}
	if j.V2 != nil {
		_ = j.V2.Close()
	}
	for _, f := range j.Tasks {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}

func TestOccupiedAndBadInput(t *testing.T) {
	g := newGroup(t, nil)
	start(t, g, "sleep 100")
	path := fmt.Sprintf("/conex-test-%d/%s", os.Getpid(), t.Name())
	if _, err := New(Config{Path: path}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a second container in one group: %v", err)
	}
	for _, r := range []*specs.LinuxResources{
		{Devices: []specs.LinuxDeviceCgroup{{Type: "x"}}},
		{Devices: []specs.LinuxDeviceCgroup{{Type: "c", Access: "rq"}}},
	} {
		if _, err := New(Config{Path: path + "x", Resources: r}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func BenchmarkNewDestroy(b *testing.B) {
	limit, pids := int64(64<<20), int64(100)
	r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}, Pids: &specs.LinuxPids{Limit: &pids}}
	for i := 0; b.Loop(); i++ {
		g, err := New(Config{Path: fmt.Sprintf("/conex-bench-%d-%d", os.Getpid(), i), Resources: r})
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Destroy(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
