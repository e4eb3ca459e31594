// Package rig is what the integration tests stand on: it runs the real binaries on roots of their own, inside a
// network namespace that the test binary made for itself, with images made from Debian's packages and a local registry.
// It shares no code with the product: it knows the binaries by their public doors alone.
package rig

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inside marks the second execution of the test binary, in its own network namespace.
const inside = "CONEX_TEST_NETNS"

// Main runs a package's tests in a network namespace of their own, so that bridges, firewall tables and ports of the
// machine stay as they are. Call it from TestMain.
func Main(m *testing.M) {
	if os.Getenv(inside) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "rig: ip link set lo up: %v\n%s", err, out)
			os.Exit(1)
		}
		code := m.Run()
		stopShared()
		os.Exit(code)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "rig: the integration tests run containers: run them as root")
		os.Exit(1)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		os.Exit(max(1, cmd.ProcessState.ExitCode()))
	}
	os.Exit(0)
}

// Bin returns the path of one of our binaries, as `make` built it.
func Bin(name string) string {
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, name)
}

// Engine is one conexd on roots of its own.
type Engine struct {
	T        testing.TB
	Dir      string // holds everything below
	DataRoot string
	ExecRoot string
	Socket   string
	LogFile  string
	Flags    []string
	daemon   *process // of all copies that For makes
}

// process is the daemon that runs now, if any.
type process struct {
	cmd  *exec.Cmd
	done chan error
}

// How long the daemon may take to end.
const (
	stopBound = 20 * time.Second
	killBound = 10 * time.Second
)

// Start runs conexd with the given extra flags and waits until it answers. At the end of the test every container,
// network and volume is removed, the daemon is stopped, and both leak oracles must be clean.
func Start(t testing.TB, flags ...string) *Engine {
	t.Helper()
	return StartAt(t, "", flags...)
}

// StartAt is Start with a data root elsewhere.
func StartAt(t testing.TB, dataRoot string, flags ...string) *Engine {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conex-test-")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{T: t, Dir: dir, DataRoot: dir + "/data", ExecRoot: dir + "/run", Socket: dir + "/conex.sock", LogFile: dir + "/conexd.log", Flags: flags, daemon: &process{}}
	if dataRoot != "" {
		e.DataRoot = dataRoot
	}
	before := Snapshot(t, e.Dir, e.DataRoot)
	t.Cleanup(func() {
		e.removeAll()
		e.AuditClean()
		e.Stop()
		e.AuditClean()
		e.uninstall()
		Settled(t, before, func() []string { return Snapshot(t, e.Dir, e.DataRoot) })
		if t.Failed() {
			b, _ := os.ReadFile(e.LogFile)
			t.Logf("conexd.log:\n%s", tail(b, 40000))
		}
		if r := Exec(t, nil, nil, "rm", "-rf", "--one-file-system", e.Dir); r.Code != 0 {
			t.Errorf("remove %s: %s", e.Dir, r.Err)
		}
	})
	e.Run()
	return e
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return b
}

// Run starts the daemon (again) and waits until its socket answers.
func (e *Engine) Run() {
	e.T.Helper()
	e.Launch()
	e.Await()
}

// Launch starts the daemon and waits for nothing.
func (e *Engine) Launch() {
	e.T.Helper()
	log, err := os.OpenFile(e.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		e.T.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	args := append([]string{"--data-root", e.DataRoot, "--exec-root", e.ExecRoot, "-H", "unix://" + e.Socket,
		"--pidfile", e.Dir + "/conexd.pid", "--config-file", e.Dir + "/daemon.json", "--insecure-registry", "127.0.0.0/8"}, e.Flags...)
	if _, err := os.Stat(e.Dir + "/daemon.json"); err != nil {
		if err := os.WriteFile(e.Dir+"/daemon.json", []byte("{}"), 0o644); err != nil {
			e.T.Fatal(err)
		}
	}
	e.daemon.cmd = exec.Command(Bin("conexd"), args...)
	e.daemon.cmd.Stdout, e.daemon.cmd.Stderr = log, log
	if err := e.daemon.cmd.Start(); err != nil {
		e.T.Fatal(err)
	}
	done := make(chan error, 1)
	cmd := e.daemon.cmd
	go func() { done <- cmd.Wait() }()
	e.daemon.done = done
}

// Await waits until the launched daemon answers. That its socket can be connected is not enough: a child that a killed
// predecessor was just making can hold the old one open for some milliseconds.
func (e *Engine) Await() {
	e.T.Helper()
	done := e.daemon.done
	deadline := time.Now().Add(20 * time.Second)
	for {
		if e.ping() {
			return
		}
		select {
		case err := <-done:
			b, _ := os.ReadFile(e.LogFile)
			e.T.Fatalf("conexd ended: %v\n%s", err, b)
		default:
		}
		if time.Now().After(deadline) {
			e.T.Fatalf("conexd does not answer at %s", e.Socket)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ping asks the daemon whether it is there.
func (e *Engine) ping() bool {
	c, err := net.DialTimeout("unix", e.Socket, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("GET /_ping HTTP/1.1\r\nHost: conex\r\nConnection: close\r\n\r\n")); err != nil {
		return false
	}
	b := make([]byte, len("HTTP/1.1 200"))
	_, err = io.ReadFull(c, b)
	return err == nil && string(b) == "HTTP/1.1 200"
}

// For is the same engine in a subtest: failures are the subtest's.
func (e *Engine) For(t testing.TB) *Engine {
	c := *e
	c.T = t
	return &c
}

// Pid is the daemon's process id.
func (e *Engine) Pid() int { return e.daemon.cmd.Process.Pid }

// Kill9 ends the daemon as a crash would.
func (e *Engine) Kill9() {
	e.T.Helper()
	if err := e.daemon.cmd.Process.Kill(); err != nil {
		e.T.Fatal(err)
	}
	select {
	case err := <-e.daemon.done:
		if err == nil {
			e.T.Error("conexd ended well although it was killed")
		}
	case <-time.After(killBound):
		e.T.Errorf("conexd is not over %v after SIGKILL:\n%s", killBound, processes(e.daemon.cmd.Process.Pid))
	}
	e.daemon.cmd = nil
}

// Stop asks the daemon to end; containers go on.
func (e *Engine) Stop() {
	e.T.Helper()
	if e.daemon.cmd == nil {
		return
	}
	_ = e.daemon.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-e.daemon.done:
		if err != nil {
			e.T.Errorf("conexd: exit after SIGTERM: %v", err)
		}
	case <-time.After(stopBound):
		e.T.Errorf("conexd does not end after SIGTERM; its log has its goroutines:\n%s", processes(e.daemon.cmd.Process.Pid))
		_ = e.daemon.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case err := <-e.daemon.done:
			e.T.Logf("conexd: %v", err)
		case <-time.After(killBound):
			_ = e.daemon.cmd.Process.Kill()
		}
	}
	e.daemon.cmd = nil
}

func (e *Engine) removeAll() {
	if e.daemon.cmd == nil {
		e.Run()
	}
	if ids := strings.Fields(e.Docker("ps", "-aq").Out); len(ids) > 0 {
		e.Docker(append([]string{"rm", "-f", "-v"}, ids...)...).OK()
	}
	e.Docker("network", "prune", "-f").OK()
	e.Docker("volume", "prune", "-af").OK()
}

// AuditClean demands that the product's own oracle finds nothing.
func (e *Engine) AuditClean() {
	e.T.Helper()
	var r *Result
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r = e.Exec(nil, Bin("conexd"), "debug", "audit", "--data-root", e.DataRoot, "--exec-root", e.ExecRoot)
		if r.Code == 0 || time.Now().After(deadline) {
			break
		}
	}
	if r.Code != 0 {
		e.T.Errorf("conexd debug audit: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}

// uninstall takes away what a stopped daemon leaves on purpose: its bridge and its firewall table.
func (e *Engine) uninstall() {
	e.T.Helper()
	e.Exec(nil, Bin("conexd"), "debug", "uninstall", "--data-root", e.DataRoot, "--exec-root", e.ExecRoot).OK()
}

// Exec runs a command to its end, at most for Bound. When it hangs the daemon is ended with its goroutines in its log.
func (e *Engine) Exec(stdin []byte, argv ...string) *Result {
	e.T.Helper()
	stuck := func() {
		if e.daemon != nil && e.daemon.cmd != nil {
			_ = e.daemon.cmd.Process.Signal(syscall.SIGQUIT)
		}
	}
	return execute(e.T, Bound, stuck, []string{"DOCKER_HOST=unix://" + e.Socket, "CONEX_HOST=unix://" + e.Socket}, stdin, argv)
}

// Docker runs the real docker CLI against the engine.
func (e *Engine) Docker(args ...string) *Result {
	e.T.Helper()
	return e.Exec(nil, append([]string{"docker"}, args...)...)
}

// Conex runs our CLI against the engine.
func (e *Engine) Conex(args ...string) *Result {
	e.T.Helper()
	return e.Exec(nil, append([]string{Bin("conex")}, args...)...)
}

// Eventually waits until check is true, at most for the given time.
func Eventually(t testing.TB, bound time.Duration, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !check(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", bound, what)
		}
	}
}
