package first

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/pty"
)

// asInit makes the test binary be the init.
const asInit = "CONEX_TEST_INIT"

func TestMain(m *testing.M) {
	if os.Getenv(asInit) != "" {
		_ = os.Unsetenv(asInit)
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func initCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"--"}, args...)...)
	cmd.Env = append(os.Environ(), asInit+"=1")
	return cmd
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var e *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	return e.ExitCode()
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 137, ""},
		{[]string{"true"}, 0, ""},
		{[]string{"no-such-program"}, 127, `exec: "no-such-program": executable file not found in $PATH`},
		{[]string{"/no/such"}, 127, `exec: "/no/such": stat /no/such: no such file or directory`},
		{[]string{"/etc/passwd"}, 126, `exec: "/etc/passwd": permission denied`},
		{nil, 1, "usage"},
	} {
		var out bytes.Buffer
		cmd := initCommand(c.args...)
		cmd.Stderr = &out
		if code := exitCode(t, cmd.Run()); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%v: exit %d (want %d), stderr %q (want %q)", c.args, code, c.code, out.String(), c.says)
		}
	}
}

// running starts an init and returns when its program has said a line.
func running(t *testing.T, script string, attr *syscall.SysProcAttr) (cmd *exec.Cmd, line string, out *bufio.Reader) {
	t.Helper()
	cmd = initCommand("sh", "-c", script)
	cmd.SysProcAttr = attr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	out = bufio.NewReader(pipe)
	if line, err = out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd, strings.TrimSpace(line), out
}

// Process 1 ignores what it has no handler for; an init has one for everything that can be passed on.
func TestSignalsReachTheProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a pid namespace needs root")
	}
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		name := strings.TrimPrefix(unix.SignalName(sig), "SIG")
		cmd, _, _ := running(t, "trap 'exit 9' "+name+"; echo ready; while :; do sleep 0.02; done", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(t, cmd.Wait()); code != 9 {
			t.Errorf("%s: exit %d, want the trap's 9", name, code)
		}
	}
	// The others are taken a moment after the program has started.
	for _, sig := range []syscall.Signal{unix.SIGUSR1, unix.SIGWINCH, unix.SIGTSTP, 40} {
		cmd, _, out := running(t, "trap 'exit 9' "+strconv.Itoa(int(sig))+"; echo ready; while :; do sleep 0.02; done", &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID})
		end := time.Now().Add(10 * time.Second)
		done := make(chan error, 1)
		go func() { _, _ = io.Copy(io.Discard, out); done <- cmd.Wait() }()
		for waiting := true; waiting; {
			_ = cmd.Process.Signal(sig)
			select {
			case err := <-done:
				waiting = false
				if code := exitCode(t, err); code != 9 {
					t.Errorf("%d: exit %d, want the trap's 9", sig, code)
				}
			case <-time.After(20 * time.Millisecond):
				if time.Now().After(end) {
					t.Fatalf("signal %d does not reach the program", sig)
				}
			}
		}
	}
}

// A process whose parent has ended becomes the init's child; nobody else could reap it.
func TestOrphansAreReaped(t *testing.T) {
	cmd, line, _ := running(t, `sh -c 'sleep 0.1 & echo $!'; sleep 100 & wait`, nil)
	orphan := "/proc/" + line
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(orphan); errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(end) {
			b, _ := os.ReadFile(orphan + "/stat")
			t.Fatalf("the orphan is still there: %s", b)
		}
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 128+int(unix.SIGTERM) {
		t.Errorf("exit %d after SIGTERM, want 143", code)
	}
}

// The program finds the limits, signal mask and terminal that it would have without an init.
func TestProgramInherits(t *testing.T) {
	const look = `sh -c "ulimit -Sn; grep -E '^Sig(Blk|Ign):' /proc/self/status"`
	// A test that runs under nohup(1) ignores SIGHUP, which an init cannot: it passes it on.
	want, err := exec.Command("env", "--default-signal", "sh", "-c", "ulimit -Sn 99; exec "+look).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("env", "--default-signal", "sh", "-c", `ulimit -Sn 99; exec "$0" -- `+look, "/proc/"+strconv.Itoa(os.Getpid())+"/exe")
	cmd.Env = append(os.Environ(), asInit+"=1")
	if b, err := cmd.CombinedOutput(); err != nil || string(b) != string(want) {
		t.Errorf("got %q, %v; want %q", b, err, want)
	}
	pts, err := unix.Open("/dev/pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pts) }()
	pair, err := pty.Open(pts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pair.Master.Close() }()
	cmd = initCommand("sh", "-c", `read x; echo "[$x]"`) // a process in the background would be stopped by the read
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pair.Slave, pair.Slave, pair.Slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	_ = pair.Slave.Close()
	if _, err := pair.Master.WriteString("hi\n"); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(pair.Master) // ends with EIO
	if err := cmd.Wait(); err != nil || !strings.Contains(string(out), "[hi]") {
		t.Errorf("%v, terminal said %q", err, out)
	}
}
