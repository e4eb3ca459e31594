package integration

import (
	"archive/tar"
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// A container of one static program, which is no shell, gets one from the host or from an image; its processes, its
// network, its files and its limits on capabilities are what the shell sees.
func TestDebug(t *testing.T) {
	e, busybox := withBusybox(t)
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "sleep", Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const ref = "shellless"
	e.Exec(archive.Bytes(), rig.Bin("conex"), "import", "-", ref).OK()
	e.Conex("run", "-d", "--name", "bare", "-u", "1000:1000", "--cap-drop", "ALL", ref, "/sleep", "1000").OK()
	e.Conex("exec", "bare", "sh").Exits(127)

	pid := e.Conex("inspect", "-f", "{{.State.Pid}}", "bare").OK().Trim()
	same := "[ $(readlink /proc/1/ns/net) = $(readlink /proc/self/ns/net) ] && [ $(readlink /proc/1/ns/pid) = $(readlink /proc/self/ns/pid) ] && echo joined"
	e.Conex("debug", "bare", "sh", "-c", same+"; ls /proc/1/root; tr '\\0' ' ' </proc/1/cmdline; exit 7").Exits(7).Says("joined").Says("sleep").Says("/sleep 1000")
	e.Conex("debug", "bare", "sh", "-c", "touch /usr/conex-was-here").Exits(1).Says("Read-only file system")
	e.Conex("debug", "bare", "sh", "-c", "touch /proc/1/root/left && chown 1000 /proc/1/root/left").Exits(1).Says("not permitted")
	if got := e.Conex("debug", "--image", busybox, "bare", "cat", "/proc/1/root/proc/1/comm").OK().Trim(); got != "sleep" {
		t.Errorf("process 1 is %q", got)
	}
	if out := e.Exec([]byte("pwd; exit 3\n"), rig.Bin("conex"), "debug", "bare"); out.Code != 3 || !strings.Contains(out.Out, "/proc/1/root") {
		t.Errorf("a shell on stdin: %+v", out)
	}
	if now := e.Conex("inspect", "-f", "{{.State.Pid}}", "bare").OK().Trim(); now != pid {
		t.Errorf("the container's process was %s and is %s", pid, now)
	}
	if list := e.Conex("ps", "-aq").OK().Trim(); strings.Count(list, "\n") != 0 {
		t.Errorf("what was left: %s", list)
	}
	e.Conex("stop", "-t", "0", "bare").OK()
	e.Conex("debug", "bare").Exits(1).Says("container bare is not running")
	e.Conex("debug").Exits(1).Says("requires at least 1 argument")
	e.Conex("rm", "bare").OK()
	e.Conex("rmi", ref).OK()
}
