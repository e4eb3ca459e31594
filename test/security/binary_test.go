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

// Host-network containers see the host's abstract sockets (CVE-2020-15257): none may be ours.
func TestNoAbstractSockets(t *testing.T) {
	e, busybox := start(t)
	out := e.Docker("run", "--rm", "--network", "host", busybox, "cat", "/proc/net/unix").OK().Out
	for line := range strings.Lines(out) {
		if strings.Contains(line, " @") && strings.Contains(line, "conex") {
			t.Errorf("abstract socket: %s", line)
		}
	}
	e.Docker("run", "-d", "--name", "shim", busybox, "sleep", "1000").OK()
	bundle := e.ExecRoot + "/task/moby/" + e.Docker("inspect", "-f", "{{.Id}}", "shim").OK().Trim()
	if st, err := os.Stat(bundle); err != nil || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("%s, with the shim's sockets: %v, %v: others can reach them", bundle, st.Mode(), err)
	}
}

// A user that cannot be parsed must never become root (CVE-2026-30892), and inheritable capabilities stay empty
// (CVE-2022-24769).
func TestUsers(t *testing.T) {
	e, busybox := start(t)
	e.Docker("run", "-d", "--name", "uu", busybox, "sleep", "1000").OK()
	for _, user := range []string{"abc", "1000:", ":5", "-1", "4294967296", "1000x", "0x0", "root:nogroup-here"} {
		for _, r := range []*rig.Result{e.Docker("exec", "-u", user, "uu", "id", "-u"), e.Docker("run", "--rm", "-u", user, busybox, "id", "-u")} {
			if r.Code == 0 && r.Trim() == "0" && !strings.HasPrefix(user, "root") && user != ":5" {
				t.Errorf("user %q became root", user)
			}
		}
	}
	e.Docker("exec", "uu", "grep", "CapInh", "/proc/self/status").OK().Says("0000000000000000")
	e.Docker("exec", "--privileged", "uu", "grep", "CapInh", "/proc/self/status").OK().Says("0000000000000000")
}
