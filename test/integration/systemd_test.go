package integration

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// systemd takes the units as they are installed.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"conex.service", "conex.socket"} {
		b, err := os.ReadFile("../../packaging/" + name)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.ReplaceAll(b, []byte("=/usr/bin/conexd"), []byte("="+rig.Bin("conexd"))) // what `make install` does with PREFIX
		if err := os.WriteFile(dir+"/"+name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	verify := func() *rig.Result {
		return rig.Exec(t, nil, nil, "systemd-analyze", "verify", "--recursive-errors=no", dir+"/conex.service", dir+"/conex.socket")
	}
	if r := verify().OK(); r.Err != "" {
		t.Errorf("systemd-analyze verify: %s", r.Err)
	}
	rig.Exec(t, nil, nil, "sed", "-i", "s/^Type=notify/Tipe=notify/", dir+"/conex.service").OK()
	verify().Says("Tipe") // it can fail
}

// systemd's own tool opens the socket and starts conexd at the first connection.
func TestSystemdStartsTheEngine(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "conex-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/daemon.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	roots := []string{"--data-root", dir + "/data", "--exec-root", dir + "/run"}
	before := rig.Snapshot(t, dir, dir+"/data")
	cmd := exec.Command("systemd-socket-activate", append([]string{"-l", dir + "/s", rig.Bin("conexd"), "-H", "fd://", "--config-file", dir + "/daemon.json"}, roots...)...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install systemd", err)
	}
	rig.Eventually(t, 5*time.Second, "the socket is there", func() bool { _, err := os.Stat(dir + "/s"); return err == nil })
	rig.Exec(t, nil, nil, "docker", "-H", "unix://"+dir+"/s", "run", "--rm", "hello").OK().Says("Conex")
	_ = cmd.Process.Signal(syscall.SIGTERM) // it has become conexd by execve
	if rig.Reap(t, cmd, 20*time.Second); cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("conexd: %v", cmd.ProcessState)
	}
	rig.Exec(t, nil, nil, append([]string{rig.Bin("conexd"), "debug", "uninstall"}, roots...)...).OK()
	if err := os.Remove(dir + "/s"); err != nil {
		t.Error(err)
	}
	rig.Settled(t, before, func() []string { return rig.Snapshot(t, dir, dir+"/data") })
	rig.Exec(t, nil, nil, "rm", "-rf", "--one-file-system", dir).OK()
}
