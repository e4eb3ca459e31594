package docker

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cli runs the real docker CLI against the door.
type cli struct {
	t      *testing.T
	binary string
	socket string
	config string
}

func newCLI(t *testing.T, d *double) *cli {
	binary, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("no docker CLI:", err)
	}
	_, socket := serve(t, d)
	return &cli{t: t, binary: binary, socket: socket, config: t.TempDir()}
}

func (c *cli) run(stdin string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+c.socket, "DOCKER_CONFIG="+c.config, "DOCKER_BUILDKIT=0")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatalf("docker %q: %v", args, err)
	}
	if ctx.Err() != nil {
		c.t.Fatalf("docker %q hangs: %s%s", args, &out, &errs)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestDockerCLI(t *testing.T) {
	d := newDouble()
	c := newCLI(t, d)
	tar := filepath.Join(t.TempDir(), "i.tar")
	for _, s := range []struct {
		stdin, args    string
		out, err       string // must be contained
		code           int
		forbidInStdout string
	}{
		{args: "version --format {{.Server.APIVersion}}", out: "1."},
		{args: "info", out: "Server Version: 0.1"},
		{args: "run --rm busybox echo hello world", out: "hello world\n"},
		{args: "run --rm busybox warn oops", err: "oops\n"},
		{args: "run --rm busybox exit 7", code: 7},
		{args: "run --rm -i busybox cat", stdin: "one\ntwo\n", out: "one\ntwo\n"},
		{args: "run --name kept busybox echo kept line", out: "kept line"},
		{args: "logs kept", out: "kept line\n"},
		{args: "logs -f -t kept", out: "2023-11-14T22:13:20.000000005Z kept line\n"},
		{args: "run --name kept busybox true", err: `Conflict. The container name "/kept" is already in use`, code: 125},
		{args: "run -d --name bg busybox sleep", out: "00000"},
		{args: "ps --format {{.Names}}", out: "bg\n", forbidInStdout: "kept"},
		{args: "ps -a --format {{.Names}}", out: "kept\n"},
		{args: "exec bg echo inside", out: "inside\n"},
		{args: "exec bg exit 3", code: 3},
		{args: "exec -i bg cat", stdin: "typed", out: "typed"},
		{args: "exec -d bg echo x"},
		{args: "top bg", out: "sleep"},
		{args: "stats --no-stream bg", out: "1MiB / 1GiB"},
		{args: "inspect -f {{.NetworkSettings.IPAddress}} bg", out: "172.17.0.2"},
		{args: "inspect nothing", err: "such object: nothing", code: 1},
		{args: "rm bg", err: "container is running", code: 1},
		{args: "kill -s BOGUS bg", err: "invalid signal: BOGUS", code: 1},
		{args: "rename bg bg2"},
		{args: "pause bg2"},
		{args: "unpause bg2"},
		{args: "update -m 32m --memory-swap 32m bg2", out: "bg2"},
		{args: "stop bg2", out: "bg2"},
		{args: "wait bg2", out: "137"},
		{args: "rm bg2 kept"},
		{args: "pull alpine:3", out: "Status: Downloaded newer image for alpine:3"},
		{args: "pull missing:1", err: "pull access denied for missing:1", code: 1},
		{args: "pull broken:1", err: "registry went away", code: 1},
		{args: "images --format {{.Repository}}:{{.Tag}}", out: "alpine:3"},
		{args: "tag alpine:3 mine:v1"},
		{args: "push mine:v1", out: "The push refers to repository [mine:v1]"},
		{args: "save -o " + tar + " alpine:3 mine:v1"},
		{args: "load -i " + tar, out: "Loaded image: 39 bytes"},
		{args: "save nothing", code: 1, err: "No such image: nothing"},
		{args: "import - imported:1", stdin: "tar", out: "sha256:bbb"},
		{args: "image inspect alpine:3", out: `"RepoTags"`},
		{args: "history alpine:3", out: "IMAGE"},
		{args: "rmi mine:v1", out: "Untagged: mine:v1"},
		{args: "login -u u --password-stdin reg.example", stdin: "secret", out: "Login Succeeded"},
		{args: "login -u u --password-stdin reg.example", stdin: "wrong", err: "401 Unauthorized", code: 1},
		{args: "network create n1", out: "cccc"},
		{args: "network ls", out: "n1"},
		{args: "network inspect n1", out: `"Name": "n1"`},
		{args: "network rm n1", out: "n1"},
		{args: "network rm n1", err: "network n1 not found", code: 1},
		{args: "volume create v1", out: "v1"},
		{args: "volume ls -q", out: "v1"},
		{args: "volume inspect v1", out: `"Driver": "local"`},
		{args: "volume rm v1", out: "v1"},
		{args: "volume inspect v1", err: "no such volume", code: 1},
		{args: "system df", out: "Images"},
		{args: "container prune -f", out: "Total reclaimed space: 0B"},
		{args: "events --until 1", out: "container start x"},
		{args: "plugin ls", out: "ENABLED"},
		{args: "node ls", err: "This node is not a swarm manager", code: 1},
		{args: "diff nothing", err: "No such container: nothing", code: 1},
		{args: "search x", err: "GET /images/search is not implemented by Conex", code: 1},
		{args: "create --name created busybox true", out: "00000"},
		{args: "start -a created"},
	} {
		out, errs, code := c.run(s.stdin, strings.Fields(s.args)...)
		if code != s.code || !strings.Contains(out, s.out) || !strings.Contains(errs, s.err) || s.forbidInStdout != "" && strings.Contains(out, s.forbidInStdout) {
			t.Errorf("docker %s: exit %d (want %d)\nstdout %q\nwant   %q\nstderr %q\nwant   %q", s.args, code, s.code, out, s.out, errs, s.err)
		}
	}
}

// TestEventsFollow sees that an event reaches a client of the stream at once, while it goes on.
func TestEventsFollow(t *testing.T) {
	d := newDouble()
	c := newCLI(t, d)
	cmd := exec.Command(c.binary, "events", "--format", "{{.Action}} {{.Actor.ID}}")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+c.socket, "DOCKER_CONFIG="+c.config)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for ready := false; !ready; time.Sleep(5 * time.Millisecond) {
		d.mu.Lock()
		ready = len(d.listeners) > 0
		d.mu.Unlock()
	}
	c.run("", "run", "--rm", "busybox", "exit", "3")
	line := make(chan string, 1)
	go func() {
		b := make([]byte, 200)
		n, _ := pipe.Read(b)
		line <- string(b[:n])
	}()
	select {
	case l := <-line:
		if !strings.HasPrefix(l, "die 0000") {
			t.Errorf("event %q", l)
		}
	case <-time.After(10 * time.Second):
		t.Error("no event came")
	}
}
