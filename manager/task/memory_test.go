package task_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The memory of a shim whose container stays is paid by every container of the machine: at most 1.5 MB that nobody
// shares, and 3 MB with its part of what shims share (smaps_rollup, kB). They give back what the start needed some
// seconds after it.
const (
	maxPrivate = 1500
	maxPSS     = 3000
	manyShims  = 20
	mayTake    = 30 * time.Second
)

func TestIdleShimsAreSmall(t *testing.T) {
	h := newHarness(t, "conex")
	for i := range manyShims {
		h.run(h.request(fmt.Sprint("m", i), sh("sleep 1000")))
	}
	private, pss := 0, 0
	for end := time.Now().Add(mayTake); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		private, pss = 0, 0
		for i := range manyShims {
			sizes := h.rollup(h.shimPid(fmt.Sprint("m", i)))
			private += sizes["Private_Clean:"] + sizes["Private_Dirty:"]
			pss += sizes["Pss:"]
		}
		if private /= manyShims; private <= maxPrivate && pss/manyShims <= maxPSS {
			break
		}
	}
	pss /= manyShims
	t.Logf("a shim: %d kB private, %d kB PSS", private, pss)
	if private > maxPrivate || pss > maxPSS {
		t.Errorf("more than %d kB private or %d kB PSS", maxPrivate, maxPSS)
	}
	for i := range manyShims {
		id := fmt.Sprint("m", i)
		_ = h.svc.Kill(t.Context(), nsName, id, "", 9, false)
		h.exit(id, "")
		h.delete(id)
	}
}

// rollup reads a process's /proc/<pid>/smaps_rollup, in kB.
func (h *harness) rollup(pid int) map[string]int {
	h.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		h.Fatal(err)
	}
	sizes := make(map[string]int)
	for line := range strings.Lines(string(data)) {
		var name string
		var size int
		if n, _ := fmt.Sscanf(line, "%s %d kB", &name, &size); n == 2 {
			sizes[name] = size
		}
	}
	return sizes
}
