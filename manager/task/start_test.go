package task_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/task"
)

func overlay(h *harness) []mount.Mount {
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + rootfs, "upperdir=" + filepath.Join(h.root, "fs"), "workdir=" + filepath.Join(h.root, "work"),
	}}}
}

// TestStartTimings shows where the time of a start goes; it judges nothing.
func TestStartTimings(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		const rounds = 20
		var create, start, exit, remove []time.Duration
		for i := range rounds {
			id := fmt.Sprintf("c%d", i)
			t0 := time.Now()
			h.create(h.request(id, spec("/bin/true")))
			t1 := time.Now()
			h.start(id)
			t2 := time.Now()
			h.exit(id, "")
			t3 := time.Now()
			h.delete(id)
			t4 := time.Now()
			create, start = append(create, t1.Sub(t0)), append(start, t2.Sub(t1))
			exit, remove = append(exit, t3.Sub(t2)), append(remove, t4.Sub(t3))
		}
		for _, list := range [][]time.Duration{create, start, exit, remove} {
			slices.Sort(list)
		}
		t.Logf("median of %d: create %v, start %v, to the exit of true %v, delete %v; minimum %v %v %v %v",
			rounds, create[rounds/2], start[rounds/2], exit[rounds/2], remove[rounds/2], create[0], start[0], exit[0], remove[0])
	})
}

// TestIdleShim shows the memory of a shim whose container sleeps; it judges nothing.
func TestIdleShim(t *testing.T) {
	h := newHarness(t, "")
	h.run(h.request("a", spec("/bin/sleep", "1000")))
	time.Sleep(3 * time.Second)
	h.logMemory("idle", "a")
	if _, err := h.svc.Exec(ctx, nsName, "a", task.Exec{ID: "e", Process: spec("/bin/true").Process}); err != nil {
		t.Fatal(err)
	}
	h.exit("a", "e")
	h.logMemory("after an exec", "a")
	h.delete("a")
}

func (h *harness) logMemory(when, id string) {
	h.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", h.shimPid(id)))
	if err != nil {
		h.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "Rss:") || strings.HasPrefix(line, "Pss:") || strings.HasPrefix(line, "Private_Dirty:") {
			h.Log(when, strings.Join(strings.Fields(line), " "))
		}
	}
}

// TestSharedFilters: one shim compiles a seccomp profile for all, and one that is damaged is no container's end.
func TestSharedFilters(t *testing.T) {
	h := newHarness(t, "")
	run := func(id string) {
		t.Helper()
		s := sh("mkdir /tmp/x; echo $?")
		s.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow,
			Syscalls:      []specs.LinuxSyscall{{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno}},
		}
		h.run(h.request(id, s))
		h.exit(id, "")
		h.delete(id)
		if b, err := os.ReadFile(h.logPath(id)); err != nil || !strings.Contains(string(b), `"1\n"`) {
			t.Errorf("%s: the filter does not hold: %s, %v", id, b, err)
		}
	}
	run("a")
	found, err := filepath.Glob(filepath.Join(h.root, "filters", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("filters: %q, %v", found, err)
	}
	before, err := os.Stat(found[0])
	if err != nil || before.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", before.Mode(), err)
	}
	run("b")
	if after, err := os.Stat(found[0]); err != nil || !os.SameFile(before, after) {
		t.Errorf("the second shim has compiled the profile anew: %v", err)
	}
	if err := os.WriteFile(found[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("c")
}
