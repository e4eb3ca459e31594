package task_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/manager/task"
)

func TestFloodAtExitIsWhole(t *testing.T) {
	eachRuntime(t, func(t *testing.T, h *harness) {
		const size = 8 << 20
		c, stream := newStream(t, bothStreams)
		req := h.request("a", sh(fmt.Sprintf("yes 0123456789abcdef0123456789abcdef | head -c %d", size)))
		req.Streams = []task.Stream{stream}
		h.run(req)
		out, _ := c.rest()
		h.exit("a", "")
		if len(out) != size {
			t.Errorf("client got %d bytes", len(out))
		}
		if got := len(h.logged("a")["stdout"]); got != size {
			t.Errorf("log has %d bytes", got)
		}
		h.delete("a")
	})
}

func TestRotation(t *testing.T) {
	h := newHarness(t, "")
	req := h.request("a", sh("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"))
	req.Log.MaxSize, req.Log.MaxFiles = 64<<10, 3
	h.run(req)
	h.exit("a", "")
	got := h.logged("a")["stdout"]
	if !strings.HasSuffix(got, "line 1998\nline 1999\n") {
		t.Errorf("the log ends with %q", got[max(0, len(got)-40):])
	}
	if files, _ := filepath.Glob(h.logPath("a") + "*"); len(files) != 3 {
		t.Errorf("files %v", files)
	}
	h.delete("a")
}
