package security

import (
	"crypto/sha256"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// The container overwrites the binary that started it, through /proc/<pid>/exe (CVE-2019-5736): as its entrypoint
// (a script whose interpreter is /proc/self/exe), and by watching for the runtime's processes that come by exec.
func TestBinaryIsSealed(t *testing.T) {
	e, busybox := start(t)
	sum := func() (out [4][32]byte) {
		for i, name := range []string{"conex", "conexd", "conex-shim", "conex-runtime"} {
			b, err := os.ReadFile(rig.Bin(name))
			if err != nil {
				t.Fatal(err)
			}
			out[i] = sha256.Sum256(b)
		}
		return out
	}
	before := sum()
	e.Docker("run", "--rm", busybox, "/proc/self/exe")
	e.Docker("run", "-d", "--name", "ww", "--privileged", busybox, "sh", "-c",
		`while :; do for p in /proc/[0-9]*; do [ "$p" = /proc/1 ] || [ "$p" = /proc/$$ ] || { case "$(readlink $p/exe)" in *conex*) echo "seen $(readlink $p/exe)"; (exec 3>$p/exe) 2>/dev/null && echo WRITABLE;; esac; }; done; done`).OK()
	for range 30 {
		e.Docker("exec", "ww", "/bin/true").OK()
	}
	if out := e.Docker("logs", "ww").OK().Out; strings.Contains(out, "WRITABLE") {
		t.Errorf("a binary of ours could be opened for writing from inside:\n%.400s", out)
	}
	if sum() != before {
		t.Error("a binary of ours was changed")
	}
}
