package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/atomicfile"
	"github.com/conex-containers/conex/daemon/audit"
)

var built struct {
	once sync.Once
	dir  string
	err  error
}

// TestMain removes what build made.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// binaries builds conexd and its helpers once and returns their directory.
func binaries(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("conexd needs root")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "test-binaries-"); built.err != nil {
			return
		}
		for _, name := range []string{"conexd", "conex-shim", "conex-runtime"} {
			cmd := exec.Command("go", "build", "-o", filepath.Join(built.dir, name), "github.com/conex-containers/conex/cmd/"+name)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				built.err = fmt.Errorf("build %s: %w: %s", name, err, out)
				return
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// process is a conexd under test, in a network namespace of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	root string
	log  *bytes.Buffer
}

func (p *process) path(name string) string { return filepath.Join(p.root, name) }

// start runs conexd on the directories below root and waits until it answers.
func start(t *testing.T, root string, args ...string) *process {
	t.Helper()
	dir := binaries(t)
	p := &process{t: t, root: root, log: &bytes.Buffer{}}
	if _, err := os.Stat(p.path("daemon.json")); err != nil {
		if err := os.WriteFile(p.path("daemon.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args = append([]string{"--data-root", p.path("data"), "--exec-root", p.path("run"), "--config-file", p.path("daemon.json")}, args...)
	p.cmd = exec.Command(filepath.Join(dir, "conexd"), args...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _, _ = p.cmd.Process.Wait() })
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if resp, err := p.get("/_ping"); err == nil && string(resp) == "OK" {
			return p
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = p.cmd.Process.Kill()
	_, _ = p.cmd.Process.Wait()
	t.Fatalf("conexd does not answer: %s", p.log)
	return nil
}

// end sends SIGTERM and wants exit code 0.
func (p *process) end() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("conexd ended with %v: %s", err, p.log)
	}
}

func (p *process) get(path string) ([]byte, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.path("run/conex.sock"))
	}}}
	resp, err := client.Get("http://d" + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}

// conexd runs the binary to its end and returns what it printed and its exit code.
func conexd(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(binaries(t), "conexd"), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (p *process) audit() (string, int) {
	return conexd(p.t, "debug", "audit", "--data-root", p.path("data"), "--exec-root", p.path("run"))
}

func TestDaemonLife(t *testing.T) {
	root := t.TempDir()
	p := start(t, root)
	if out, code := p.audit(); out != "clean\n" || code != 0 {
		t.Errorf("audit of a running daemon: %d %s", code, out)
	}
	pid := strconv.Itoa(p.cmd.Process.Pid)
	if raw, err := os.ReadFile(p.path("run/conexd.pid")); err != nil || strings.TrimSpace(string(raw)) != pid {
		t.Errorf("pidfile %q %v", raw, err)
	}
	if out, code := conexd(t, "--data-root", p.path("data"), "--exec-root", p.path("run2")); code != 1 || !strings.Contains(out, "is in use by process "+pid) {
		t.Errorf("second daemon on the data root: %d %s", code, out)
	}
	if out, code := conexd(t, "--data-root", p.path("data3"), "--exec-root", p.path("run3"), "-H", "unix://"+p.path("run/conex.sock")); code != 1 || !strings.Contains(out, "another daemon (pid "+pid) {
		t.Errorf("second daemon on the socket: %d %s", code, out)
	}
	if _, err := p.get("/_ping"); err != nil {
		t.Errorf("the first daemon does not survive the others: %v", err)
	}
	if rss := memory(t, pid); rss > 30<<10 {
		t.Errorf("idle conexd has %d kB, more than 30 MB", rss)
	} else {
		t.Logf("idle conexd has %d kB", rss)
	}
	p.end()
	for _, gone := range []string{"run/conex.sock", "run/debug.sock", "run/conexd.pid"} {
		if _, err := os.Lstat(p.path(gone)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	if out, code := p.audit(); out != "clean\n" || code != 0 {
		t.Errorf("audit without a daemon: %d %s", code, out)
	}
}

func memory(t *testing.T, pid string) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.Atoi(strings.Fields(v)[0])
			return kb
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func TestReload(t *testing.T) {
	root := t.TempDir()
	write := func(text string) {
		if err := atomicfile.Write(filepath.Join(root, "daemon.json"), []byte(text), 0o600, false); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"labels":["tier=one"]}`)
	p := start(t, root)
	labels := func() string {
		raw, err := p.get("/info")
		var info struct{ Labels []string }
		if err != nil || json.Unmarshal(raw, &info) != nil {
			t.Fatalf("%s %v", raw, err)
		}
		return strings.Join(info.Labels, " ")
	}
	if got := labels(); got != "tier=one" {
		t.Errorf("labels %q", got)
	}
	await := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); labels() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("labels %q, want %q: %s", labels(), want, p.log)
			}
		}
	}
	write(`{"labels":["tier=two"]}`)
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	await("tier=two")
	write(`{"lables":["tier=three"]}`)
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	write(`{"labels":["tier=three"],"bip":"nonsense"}`)
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	time.Sleep(100 * time.Millisecond)
	if got := labels(); got != "tier=two" {
		t.Errorf("a bad file changed labels to %q", got)
	}
	write(`{"labels":["tier=four"]}`)
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	await("tier=four")
	p.end()
	if !strings.Contains(p.log.String(), "the old one stays") {
		t.Errorf("the log does not tell of the bad file: %s", p.log)
	}
}

// TestKilledDaemonComesBack sees that kill -9 leaves nothing in the way of the next start.
func TestKilledDaemonComesBack(t *testing.T) {
	root := t.TempDir()
	p := start(t, root)
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	if out, code := p.audit(); out != "clean\n" || code != 0 {
		t.Errorf("audit after kill -9: %d %s", code, out)
	}
	start(t, root).end()
}

// TestAuditFindsRealLeaks plants leaks on the machine and wants them named, with the daemon up and down.
func TestAuditFindsRealLeaks(t *testing.T) {
	root := t.TempDir()
	p := start(t, root)
	stray := ""
	for _, dir := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		path := filepath.Join(dir, Instance(p.path("data")), "stray")
		if os.MkdirAll(path, 0o755) == nil {
			stray = path
			break
		}
	}
	if stray == "" {
		t.Fatal("no control group can be made")
	}
	t.Cleanup(func() { _, _ = os.Remove(stray), os.Remove(filepath.Dir(stray)) })
	for _, dir := range []string{"data/containers/stray", "run/task/moby/stray", "data/volumes/stray"} {
		if err := os.MkdirAll(p.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(p.path("data/.x.tmp-1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"cgroup " + stray, "container " + p.path("data/containers/stray"), "bundle " + p.path("run/task/moby/stray"),
		"volume " + p.path("data/volumes/stray"), "temp " + p.path("data/.x.tmp-1")}
	check := func(when string) {
		out, code := p.audit()
		for _, w := range want {
			if !strings.Contains(out, w+": ") {
				t.Errorf("%s: %q is not found: %s", when, w, out)
			}
		}
		if code != 1 || strings.Count(out, "\n") != len(want) {
			t.Errorf("%s: exit %d: %s", when, code, out)
		}
	}
	check("daemon up")
	p.end()
	check("daemon down")
	out, code := conexd(t, "debug", "audit", "--data-root", p.path("data"), "--exec-root", p.path("run"), "--json")
	var report audit.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Clean || len(report.Findings) != len(want) {
		t.Errorf("%d %v %s", code, err, out)
	}
}
