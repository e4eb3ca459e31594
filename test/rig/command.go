package rig

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bound is how long one external command may take. What takes longer hangs, and fails its test with a picture of the
// processes, instead of keeping all that come after it from being run.
const Bound = 2 * time.Minute

// hung is the exit code of a command that hung, timeout(1)'s.
const hung = 124

// HTTP is a client for what answers at once: a request of it ends, whatever the other side does.
var HTTP = &http.Client{Timeout: 30 * time.Second}

// Result is what a command did.
type Result struct {
	T    testing.TB
	Line string
	Out  string
	Err  string
	Code int
}

// OK demands exit status 0.
func (r *Result) OK() *Result {
	r.T.Helper()
	return r.Exits(0)
}

// Exits demands the exit status.
func (r *Result) Exits(code int) *Result {
	r.T.Helper()
	if r.Code != code {
		r.T.Fatalf("%s: exit %d, want %d\nstdout: %s\nstderr: %s", r.Line, r.Code, code, r.Out, r.Err)
	}
	return r
}

// Says demands a text in what the command printed, on either stream.
func (r *Result) Says(text string) *Result {
	r.T.Helper()
	if !strings.Contains(r.Out+r.Err, text) {
		r.T.Fatalf("%s: does not say %q\nstdout: %s\nstderr: %s", r.Line, text, r.Out, r.Err)
	}
	return r
}

// Trim is the command's standard output without the space around it.
func (r *Result) Trim() string { return strings.TrimSpace(r.Out) }

// Exec runs a command to its end, at most for Bound, with env added to the environment.
func Exec(t testing.TB, env []string, stdin []byte, argv ...string) *Result {
	t.Helper()
	return execute(t, Bound, nil, env, stdin, argv)
}

// execute runs a command to its end. One that is not over after bound gets SIGQUIT, at which a Go program prints its
// goroutines, then SIGKILL, and the test fails; stuck, when set, is called before.
func execute(t testing.TB, bound time.Duration, stuck func(), env []string, stdin []byte, argv []string) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 2 * time.Second // a helper that the command leaves behind (conmon) may keep its streams open
	picture := ""
	cmd.Cancel = func() error {
		picture = processes(cmd.Process.Pid)
		if stuck != nil {
			stuck()
		}
		return cmd.Process.Signal(syscall.SIGQUIT)
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	err := cmd.Run()
	line := strings.Join(argv, " ")
	if ctx.Err() != nil { // not Fatalf: who waits for this in another goroutine must hear of it
		t.Errorf("%s: hangs: not over after %v\nstdout: %s\nstderr: %s\nprocesses:\n%s", line, bound, out.String(), errOut.String(), picture)
		return &Result{T: t, Line: line, Out: out.String(), Err: errOut.String(), Code: hung}
	}
	if cmd.ProcessState == nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return &Result{T: t, Line: line, Out: out.String(), Err: errOut.String(), Code: exitCode(cmd.ProcessState)}
}

// exitCode is a process's exit status as a shell has it.
func exitCode(p *os.ProcessState) int {
	if ws, ok := p.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.ExitCode()
}

// Finish ends a process that a test has started, and waits for that; one that cannot be ended fails the test.
func Finish(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Process.Kill()
	Reap(t, cmd, 10*time.Second)
}

// Reap waits for the end of a process, at most so long.
func Reap(t testing.TB, cmd *exec.Cmd, bound time.Duration) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // who wants its status looks at ProcessState
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(bound):
		t.Errorf("%s: process %d is not over after %v:\n%s", strings.Join(cmd.Args, " "), cmd.Process.Pid, bound, processes(cmd.Process.Pid))
	}
}

// processes pictures the processes that a hang may be about: pid, its descendants, this process's, and those of the
// project, with what each waits for in the kernel. It reads nothing that waits itself, as cmdline does for a process
// whose memory is locked.
func processes(pid int) string {
	parents, lines := map[int]int{}, map[int]string{}
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range dirs {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		text := string(b)
		end := strings.LastIndexByte(text, ')')
		fields := strings.Fields(text[end+1:])
		p, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || len(fields) < 2 {
			continue
		}
		parents[p], _ = strconv.Atoi(fields[1])
		where, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "wchan"))
		lines[p] = fmt.Sprintf("%7d of %7d %s %s %s", p, parents[p], fields[0], text[strings.IndexByte(text, '('):end+1], where)
	}
	var out strings.Builder
	for p, line := range lines {
		show := strings.Contains(line, "(conex")
		for a, hops := p, 0; a > 1 && !show && hops < 64; a, hops = parents[a], hops+1 {
			show = a == pid || a == os.Getpid()
		}
		if !show {
			continue
		}
		out.WriteString(line + "\n")
		if strings.Contains(line, " D (") {
			stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", p))
			out.Write(stack)
		}
	}
	return out.String()
}
