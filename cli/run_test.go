package cli

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestRunAsksNoMoreThanItMust(t *testing.T) {
	e := newFakeEngine(t)
	e.runnable(7)
	code, out, errOut := e.conex(t, nil, "run", "--rm", "busybox", "true")
	if code != 7 || out != "hello\n" || errOut != "WARNING: be careful\noops\n" {
		t.Fatalf("code %d, out %q, err %q", code, out, errOut)
	}
	var got []string
	for _, r := range e.requests() {
		got = append(got, r.String())
		if strings.HasSuffix(r.Path, "/wait") && r.Query.Get("condition") != "removed" {
			t.Errorf("waits for %v", r.Query)
		}
		if strings.HasSuffix(r.Path, "/attach") && (r.Query.Get("stdin") != "" || r.Query.Get("stdout") != "1" || r.Query.Get("stream") != "1") {
			t.Errorf("attaches %v", r.Query)
		}
	}
	c := "/containers/" + testID
	if len(got) != 4 || got[0] != "POST /containers/create" || got[3] != "POST "+c+"/start" ||
		!slices.Contains(got[1:3], "POST "+c+"/attach") || !slices.Contains(got[1:3], "POST "+c+"/wait") {
		t.Errorf("requests %v", got)
	}
}

func TestRunDetachedCreatesAndStarts(t *testing.T) {
	e := newFakeEngine(t)
	e.runnable(0)
	cid := filepath.Join(t.TempDir(), "cid")
	code, out, _ := e.conex(t, nil, "run", "-d", "--cidfile", cid, "busybox")
	if code != 0 || out != testID+"\n" || len(e.requests()) != 2 {
		t.Errorf("code %d, out %q, requests %v", code, out, e.requests())
	}
	if b, err := os.ReadFile(cid); err != nil || string(b) != testID {
		t.Errorf("cidfile %q %v", b, err)
	}
	if code, _, errOut := e.conex(t, nil, "run", "-d", "--cidfile", cid, "busybox"); code != 125 || !strings.Contains(errOut, "container ID file found") {
		t.Errorf("second run: %d %q", code, errOut)
	}
}

func TestRunPullsWhatIsMissing(t *testing.T) {
	e := newFakeEngine(t)
	e.runnable(0)
	var once sync.Once
	e.on("POST /containers/create", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status, body := 201, `{"Id":"`+testID+`"}`
		once.Do(func() { status, body = 404, `{"message":"No such image: x:latest"}` })
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	e.json("POST /images/create", 200, pullStream)
	code, out, errOut := e.conex(t, nil, "run", "x")
	if code != 0 || out != "hello\n" {
		t.Fatalf("code %d, out %q, err %q", code, out, errOut)
	}
	want := "Unable to find image 'x:latest' locally\nlatest: Pulling from library/x\naaaaaaaaaaaa: Pulling fs layer\n"
	if !strings.HasPrefix(errOut, want) || !strings.HasSuffix(errOut, "Status: Downloaded newer image for x:latest\noops\n") {
		t.Errorf("err %q", errOut)
	}
	e.json("POST /containers/create", 404, `{"message":"No such image: x:latest"}`)
	e.reset()
	code, _, errOut = e.conex(t, nil, "run", "--pull", "never", "x")
	if code != 125 || errOut != "conex: Error response from daemon: No such image: x:latest\n\nSee 'conex run --help'.\n" || len(e.requests()) != 1 {
		t.Errorf("never: %d %q %v", code, errOut, e.requests())
	}
}

func TestStartErrorsHaveShellsExitCodes(t *testing.T) {
	for text, want := range map[string]int{
		`exec: \"nosuch\": executable file not found in $PATH: unknown`: 127,
		`exec: \"/x\": stat /x: no such file or directory`:              127,
		`exec: \"/etc/passwd\": permission denied`:                      126,
		`exec: \"/\": is a directory`:                                   126,
		`port is already allocated`:                                     125,
	} {
		for _, rm := range []bool{false, true} {
			e := newFakeEngine(t)
			e.runnable(0)
			gone := make(chan struct{})
			e.on("POST /containers/"+testID+"/start", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(400)
				_, _ = fmt.Fprintf(w, `{"message":"%s"}`, text)
				close(gone)
			})
			e.on("POST /containers/"+testID+"/wait", func(w http.ResponseWriter, _ *http.Request) {
				w.(http.Flusher).Flush()
				<-gone
				_, _ = io.WriteString(w, `{"StatusCode":0}`)
			})
			args := []string{"run", "busybox", "x"}
			if rm {
				args = []string{"run", "--rm", "busybox", "x"}
			}
			if code, _, errOut := e.conex(t, nil, args...); code != want || !strings.Contains(errOut, strings.ReplaceAll(text, `\"`, `"`)) {
				t.Errorf("%s: code %d, want %d: %q", text, code, want, errOut)
			}
		}
	}
}

// The end of the standard input closes one direction only: what the process still says is heard.
func TestStdinHalfCloses(t *testing.T) {
	e := newFakeEngine(t)
	e.runnable(0)
	e.hijack("POST /containers/"+testID+"/attach", "application/vnd.docker.multiplexed-stream", func(c net.Conn, r io.Reader) {
		b, _ := io.ReadAll(r) // ends at the half-close
		_, _ = c.Write(frame(1, fmt.Sprintf("got %d bytes\n", len(b))))
	})
	code, out, errOut := e.conex(t, bytes.NewReader(make([]byte, 300_000)), "run", "-i", "busybox", "cat")
	if code != 0 || out != "got 300000 bytes\n" {
		t.Errorf("code %d, out %q, err %q", code, out, errOut)
	}
}

func TestExecReturnsTheCodeOfItsProcess(t *testing.T) {
	e := newFakeEngine(t)
	e.json("POST /containers/c/exec", 201, `{"Id":"e1"}`)
	e.hijack("POST /exec/e1/start", "application/vnd.docker.multiplexed-stream", func(c net.Conn, _ io.Reader) {
		_, _ = c.Write(frame(1, "out"))
		_, _ = c.Write(frame(2, "err"))
	})
	e.json("GET /exec/e1/json", 200, `{"ID":"e1","ExitCode":3}`)
	code, out, errOut := e.conex(t, nil, "exec", "-e", "A=1", "-w", "/", "-u", "0", "c", "sh", "-c", "exit 3")
	if code != 3 || out != "out" || errOut != "err" {
		t.Errorf("code %d, out %q, err %q", code, out, errOut)
	}
	if n := len(e.requests()); n != 3 {
		t.Errorf("%d requests: %v", n, e.requests())
	}
	e.on("POST /exec/e1/start", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	if code, out, errOut := e.conex(t, nil, "exec", "-d", "c", "true"); code != 0 || out != "" || errOut != "" {
		t.Errorf("detached: %d %q %q", code, out, errOut)
	}
}

func TestLogsSplitsStreams(t *testing.T) {
	e := newFakeEngine(t)
	for kind, want := range map[string][2]string{"application/vnd.docker.multiplexed-stream": {"a\n", "b\n"}, "application/vnd.docker.raw-stream": {string(frame(1, "a\n")) + string(frame(2, "b\n")), ""}} {
		e.on("GET /containers/c/logs", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(append(frame(1, "a\n"), frame(2, "b\n")...))
		})
		code, out, errOut := e.conex(t, nil, "logs", "-n", "5", "--since", "10m", "c")
		if code != 0 || out != want[0] || errOut != want[1] {
			t.Errorf("%s: %d %q %q", kind, code, out, errOut)
		}
	}
	if q := e.requests()[0].Query; q.Get("tail") != "5" || !strings.Contains(q.Get("since"), ".") || q.Get("stdout") != "1" {
		t.Errorf("query %v", q)
	}
}

func TestNoEngineSaysWhatToDo(t *testing.T) {
	var out, errOut bytes.Buffer
	code := Main(t.Context(), []string{"-H", "unix:///nonexistent/x.sock", "ps"}, "1.2.3", nil, &out, &errOut)
	if text := errOut.String(); code != 1 || !strings.Contains(text, "unix:///nonexistent/x.sock") || !strings.Contains(text, "conexd -H") {
		t.Errorf("%d %q", code, text)
	}
}

func TestUnknownWordsAreCorrected(t *testing.T) {
	e := newFakeEngine(t)
	for line, want := range map[string]string{
		"pss": "Did you mean 'conex ps'?", "iamges": "Did you mean 'conex images'?", "container lst": "Did you mean 'conex container ls'?",
		"run --memroy 5 x": "unknown flag: --memroy: did you mean --memory?", "ps --al": "did you mean --all?", "run --publsh 80 x": "did you mean --publish?",
	} {
		if code, _, errOut := e.conex(t, nil, strings.Fields(line)...); code == 0 || !strings.Contains(errOut, want) {
			t.Errorf("%s: %d %q", line, code, errOut)
		}
	}
	if code, _, errOut := e.conex(t, nil, "zzzzzz"); code != 1 || strings.Contains(errOut, "mean") {
		t.Errorf("far off: %d %q", code, errOut)
	}
}

// The engine is killed while a container is in the foreground, and another takes its place.
func TestExitCodeSurvivesTheEngine(t *testing.T) {
	e := newFakeEngine(t)
	e.runnable(7)
	again := e.answers["POST /containers/"+testID+"/wait"]
	var once sync.Once
	e.on("POST /containers/"+testID+"/wait", func(w http.ResponseWriter, r *http.Request) {
		first := false
		once.Do(func() { first = true })
		if !first {
			again(w, r)
			return
		}
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // the connection is cut
	})
	if code, out, errOut := e.conex(t, nil, "run", "busybox"); code != 7 || out != "hello\n" {
		t.Errorf("code %d, out %q, err %q", code, out, errOut)
	}
}

func TestCompletion(t *testing.T) {
	e := newFakeEngine(t)
	e.json("GET /containers/json", 200, `[{"Id":"1","Names":["/web"],"State":"running"},{"Id":"2","Names":["/old"],"State":"exited"}]`)
	e.json("GET /images/json", 200, `[{"Id":"sha256:1","RepoTags":["nginx:latest","a/b:1"]}]`)
	e.json("GET /networks", 200, `[{"Name":"net1"}]`)
	e.json("GET /volumes", 200, `{"Volumes":[{"Name":"vol1"}]}`)
	t.Setenv("CONEX_HOST", e.host)
	for line, want := range map[string]string{
		"stop |": "web", "start |": "old", "rm web |": "old", "run |": "nginx a/b:1", "run --network |": "net1", "run --restart |": "no always on-failure unless-stopped",
		"network rm |": "net1", "volume inspect |": "vol1", "container in|": "inspect", "dae|": "daemon", "run --memory-s|": "--memory-swap --memory-swappiness",
	} {
		args := []string{"__completeNoDesc"}
		for _, a := range strings.Split(line, " ") {
			args = append(args, strings.TrimSuffix(a, "|"))
		}
		var out bytes.Buffer
		Main(t.Context(), args, "1.2.3", nil, &out, io.Discard)
		var got []string
		for _, l := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			if l != "" && l[0] != ':' {
				got = append(got, l)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := e.conex(t, nil, "completion", shell); code != 0 || len(out) < 1000 {
			t.Errorf("%s: %d, %d bytes", shell, code, len(out))
		}
	}
}

// Every command builds, and its help names its usage.
func TestEveryCommandHasHelp(t *testing.T) {
	e := newFakeEngine(t)
	check := func(path []string) {
		switch path[len(path)-1] {
		case "build", "commit", "cp", "diff", "export": // say that they are not there yet
			return
		}
		if code, out, errOut := e.conex(t, nil, append(path, "--help")...); code != 0 || !strings.HasPrefix(out, "Usage:  conex "+path[0]) || errOut != "" {
			t.Errorf("%v: %d %q %q", path, code, out, errOut)
		}
	}
	for _, entry := range table() {
		check([]string{entry.name})
		if entry.group != nil {
			for _, child := range entry.group() {
				check([]string{entry.name, child.name})
			}
		}
	}
	if len(e.requests()) != 0 {
		t.Errorf("help asked the engine: %v", e.requests())
	}
}
