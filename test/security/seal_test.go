package security

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// A file that is being executed cannot be written to (ETXTBSY), so the attack of CVE-2019-5736 holds /proc/<pid>/exe
// of the runtime's process by O_PATH and waits until nobody executes it any more. Here the worst has happened already:
// the descriptor is held. What is behind it must be read-only for ever.
func TestHeldBinaryIsReadOnly(t *testing.T) {
	bin := privateBinaries(t)
	for _, c := range []struct {
		name string
		hold func(t *testing.T, bin string) (held *os.File)
		want error
	}{
		{"conex-runtime's child before its exec", holdRuntime, syscall.EROFS},
		{"conex-shim", holdShim, syscall.EROFS},
		// The control: a program of ours that nothing seals. Were the two above like it, they would be written to.
		{"a program without a seal", holdUnsealed, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			held := c.hold(t, bin)
			defer func() { _ = held.Close() }()
			var err error
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				var f *os.File
				if f, err = os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(held.Fd())), os.O_WRONLY, 0); err == nil {
					_ = f.Close()
				}
				if !errors.Is(err, syscall.ETXTBSY) || time.Now().After(end) {
					break
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("opened for writing: %v, want %v", err, c.want)
			}
		})
	}
}

// privateBinaries copies our programs, so that no other test executes the same files.
func privateBinaries(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"conexd", "conex-shim", "conex-runtime"} {
		from, err := os.Open(rig.Bin(name))
		if err != nil {
			t.Fatal(err)
		}
		to, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(to, from)
		if err = errors.Join(err, from.Close(), to.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// hold opens the program of process pid as a container would that sees the process, and checks which one it is.
func hold(t *testing.T, pid int, name string) *os.File {
	t.Helper()
	exe := "/proc/" + strconv.Itoa(pid) + "/exe"
	if link, err := os.Readlink(exe); err != nil || !strings.Contains(link, name) && link != "/" {
		t.Fatalf("process %d executes %s, %v: want %s", pid, link, err, name)
	}
	fd, err := syscall.Open(exe, 0x200000|syscall.O_CLOEXEC, 0) // O_PATH
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), exe)
}

func holdRuntime(t *testing.T, bin string) *os.File {
	bundle, root := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(bundle+"/rootfs/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Link("/bin/busybox", bundle+"/rootfs/bin/true"); err != nil {
		rig.Exec(t, nil, nil, "cp", "/bin/busybox", bundle+"/rootfs/bin/true").OK()
	}
	runtime := func(args ...string) *rig.Result {
		return rig.Exec(t, nil, nil, append([]string{bin + "/conex-runtime", "--root", root}, args...)...)
	}
	runtime("spec", "-b", bundle).OK()
	rig.Exec(t, nil, nil, "sed", "-i", `s/"terminal": true/"terminal": false/; s/"sh"/"true"/`, bundle+"/config.json").OK()
	pidFile := bundle + "/pid"
	create := exec.Command(bin+"/conex-runtime", "--root", root, "create", "-b", bundle, "--pid-file", pidFile, "sealed")
	if err := create.Run(); err != nil { // no pipes: the container's process would keep them open
		t.Fatal(err)
	}
	t.Cleanup(func() { runtime("delete", "-f", "sealed") })
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	held := hold(t, pid, "conex-runtime")
	runtime("start", "sealed").OK()
	return held
}

func holdShim(t *testing.T, bin string) *os.File {
	r := rig.SharedRegistry(t)
	dir, err := os.MkdirTemp("/tmp", "conex-test-")
	if err != nil {
		t.Fatal(err)
	}
	e := &rig.Engine{T: t, Dir: dir, Socket: dir + "/conex.sock"}
	roots := []string{"--data-root", dir + "/data", "--exec-root", dir + "/run"}
	if err := os.WriteFile(dir+"/daemon.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(bin+"/conexd", append([]string{"-H", "unix://" + e.Socket, "--pidfile", dir + "/pid",
		"--config-file", dir + "/daemon.json", "--insecure-registry", "127.0.0.0/8"}, roots...)...)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		rig.Reap(t, daemon, 20*time.Second)
		rig.Exec(t, nil, nil, append([]string{bin + "/conexd", "debug", "uninstall"}, roots...)...).OK()
		rig.Exec(t, nil, nil, "rm", "-rf", "--one-file-system", dir).OK()
	}
	defer stop()
	rig.Eventually(t, 20*time.Second, "conexd answers", func() bool { return e.Docker("version").Code == 0 })
	e.Docker("pull", "-q", r.Ref("busybox")).OK()
	e.Docker("run", "-d", "--network", "none", "--name", "held", r.Ref("busybox"), "sleep", "1000").OK()
	stat, err := os.ReadFile("/proc/" + e.Docker("inspect", "-f", "{{.State.Pid}}", "held").OK().Trim() + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	shim, err := strconv.Atoi(strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))[2])
	if err != nil {
		t.Fatal(err)
	}
	held := hold(t, shim, "conex-shim")
	e.Docker("rm", "-f", "held").OK()
	return held
}

func holdUnsealed(t *testing.T, bin string) *os.File {
	cmd := exec.Command(bin+"/conex-runtime", "init", "--", "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held := hold(t, cmd.Process.Pid, "conex-runtime")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	rig.Reap(t, cmd, 20*time.Second)
	return held
}
