package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/docker"
)

// ptyPair is a terminal: the user's end and the program's.
func ptyPair(t *testing.T) (user, program *os.File) {
	t.Helper()
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	s, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(s.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 140}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close(); _ = s.Close() })
	return m, s
}

func termios(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	v, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *v
}

// terminalEngine runs a container with a terminal that echoes lines in capitals until "exit".
func terminalEngine(t *testing.T, sizes chan string) *fakeEngine {
	e := newFakeEngine(t)
	e.runnable(5)
	ended := make(chan struct{})
	var once sync.Once
	e.hijack("POST /containers/"+testID+"/attach", "application/vnd.docker.raw-stream", func(c net.Conn, r io.Reader) {
		defer once.Do(func() { close(ended) })
		_, _ = io.WriteString(c, "ready\r\n")
		for {
			buf := make([]byte, 256)
			n, err := r.Read(buf)
			if err != nil {
				return
			}
			_, _ = c.Write(bytes.ToUpper(buf[:n]))
			if bytes.Contains(buf[:n], []byte("exit")) {
				return
			}
		}
	})
	e.on("POST /containers/"+testID+"/wait", func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		<-ended
		_, _ = io.WriteString(w, `{"StatusCode":5}`)
	})
	e.on("POST /containers/"+testID+"/resize", func(w http.ResponseWriter, r *http.Request) {
		select {
		case sizes <- r.URL.Query().Get("h") + "x" + r.URL.Query().Get("w"):
		default:
		}
	})
	return e
}

// expect reads the user's end until text came.
func expect(t *testing.T, user *os.File, text string) {
	t.Helper()
	var got strings.Builder
	deadline := time.Now().Add(10 * time.Second)
	buf := make([]byte, 1024)
	for !strings.Contains(got.String(), text) {
		if err := user.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		n, err := user.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v while waiting for %q; got %q", err, text, got.String())
		}
	}
}

func TestTerminalIsRawDuringAndRestoredAfter(t *testing.T) {
	sizes := make(chan string, 8)
	e := terminalEngine(t, sizes)
	user, tty := ptyPair(t)
	before := termios(t, tty)
	exit := make(chan int)
	go func() {
		exit <- Main(context.Background(), []string{"-H", e.host, "run", "-it", "busybox"}, "1.2.3", tty, tty, io.Discard)
	}()
	expect(t, user, "ready\r\n")
	if raw := termios(t, tty); raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 || raw.Oflag&unix.OPOST != 0 {
		t.Errorf("not raw: %+v", raw)
	}
	if s := <-sizes; s != "33x140" {
		t.Errorf("size %s", s)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 60}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	if s := <-sizes; s != "20x60" {
		t.Errorf("size after the change %s", s)
	}
	_, _ = user.WriteString("a\x03b\x10c") // Ctrl-C and a lone Ctrl-P are the container's
	expect(t, user, "A\x03B\x10C")
	_, _ = user.WriteString("exit")
	if code := <-exit; code != 5 {
		t.Errorf("exit code %d", code)
	}
	if after := termios(t, tty); after != before {
		t.Errorf("terminal is %+v, was %+v", after, before)
	}
	var create recorded
	for _, r := range e.requests() {
		if r.Path == "/containers/create" {
			create = r
		}
	}
	if !strings.Contains(create.Body, `"ConsoleSize":[33,140]`) || !strings.Contains(create.Body, `"Tty":true`) {
		t.Errorf("create %s", create.Body)
	}
}

func TestDetachKeysLeaveItRunning(t *testing.T) {
	for _, c := range []struct{ flag, keys string }{{"", "\x10\x11"}, {"--detach-keys=ctrl-x,q", "\x18q"}} {
		e := terminalEngine(t, make(chan string, 8))
		user, tty := ptyPair(t)
		before := termios(t, tty)
		args := []string{"-H", e.host, "run", "-it"}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		exit := make(chan int)
		go func() { exit <- Main(context.Background(), append(args, "busybox"), "1.2.3", tty, tty, io.Discard) }()
		expect(t, user, "ready\r\n")
		_, _ = user.WriteString("x")
		expect(t, user, "X")
		_, _ = user.WriteString(c.keys)
		if code := <-exit; code != 0 {
			t.Errorf("%q: exit code %d", c.flag, code)
		}
		if termios(t, tty) != before {
			t.Errorf("%q: terminal not restored", c.flag)
		}
		for _, r := range e.requests() {
			if strings.HasSuffix(r.Path, "/kill") || strings.HasSuffix(r.Path, "/stop") {
				t.Errorf("%q: %s", c.flag, r)
			}
		}
	}
}

func TestPanicRestoresTheTerminal(t *testing.T) {
	_, tty := ptyPair(t)
	before := termios(t, tty)
	s := &Session{In: tty, Out: tty, Err: io.Discard, Getenv: os.Getenv}
	e := newFakeEngine(t)
	e.hijack("POST /containers/c/attach", "", func(_ net.Conn, r io.Reader) { _, _ = io.Copy(io.Discard, r) })
	s.global.hosts = []string{e.host}
	cl, err := s.Client()
	if err != nil {
		t.Fatal(err)
	}
	a := &attachment{id: "c", tty: true, stdin: true, stdout: true}
	if a.stream, err = cl.ContainerAttach(t.Context(), "c", docker.AttachOptions{Stream: true, Stdin: true, Stdout: true}); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		defer s.close()
		s.pump(a)
		if termios(t, tty) == before {
			t.Error("not raw")
		}
		panic("boom")
	}()
	if termios(t, tty) != before {
		t.Error("terminal not restored")
	}
	_ = a.stream.Close()
}

func TestNeedsATerminal(t *testing.T) {
	e := newFakeEngine(t)
	if code, _, errOut := e.conex(t, nil, "run", "-it", "x"); code != 125 || !strings.Contains(errOut, "the input device is not a TTY") || len(e.requests()) != 0 {
		t.Errorf("%d %q %v", code, errOut, e.requests())
	}
}

// The bars of a pull are docker's, byte for byte, on terminals of several widths.
func TestProgressOnATerminalIsDockers(t *testing.T) {
	peer, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("the docker CLI is not installed")
	}
	for _, width := range []uint16{40, 80, 140} {
		e := newFakeEngine(t)
		e.json("POST /images/create", 200, pullStream)
		show := func(run func(tty *os.File)) string {
			user, tty := ptyPair(t)
			if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: width}); err != nil {
				t.Fatal(err)
			}
			go func() {
				run(tty)
				_, _ = tty.WriteString("THE END")
			}()
			var got bytes.Buffer
			buf := make([]byte, 4096)
			for !bytes.Contains(got.Bytes(), []byte("THE END")) {
				n, err := user.Read(buf)
				got.Write(buf[:n])
				if err != nil {
					break
				}
			}
			return got.String()
		}
		want := show(func(tty *os.File) {
			cmd := exec.Command(peer, "-H", e.host, "pull", "x")
			cmd.Stdout, cmd.Env = tty, append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
			_ = cmd.Run()
		})
		got := show(func(tty *os.File) {
			Main(context.Background(), []string{"-H", e.host, "--config", t.TempDir(), "pull", "x"}, "1.2.3", nil, tty, io.Discard)
		})
		if got != want {
			t.Errorf("width %d:\n%q\nwant\n%q", width, got, want)
		}
	}
}
