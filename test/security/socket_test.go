package security

import (
	"os"
	"strings"
	"testing"
)

// A container in the host's network namespace sees the abstract sockets of the host, and containerd's shim listened on
// one: who could connect was root on the host (CVE-2020-15257).
//
// The guard: every socket of ours has a path, in a directory that root alone can enter (manager/task bundle, shim).
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
