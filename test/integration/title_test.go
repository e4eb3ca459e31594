package integration

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

func get(t *testing.T, url string) string {
	t.Helper()
	var body string
	rig.Eventually(t, 5*time.Second, url+" answers", func() bool {
		resp, err := rig.HTTP.Get(url)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		body = string(b)
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return body
}

// The command of the project's first page: conex run -p 8080:80 -v .:/usr/share/nginx/html nginx:1.25
func TestTitle(t *testing.T) {
	e, ref := start(t)
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(dir+"/index.html", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("first\n")
	for _, cli := range []string{rig.Bin("conex"), "docker"} {
		write("first\n")
		// A shell, because "." is the caller's directory.
		mount := "."
		if cli == "docker" {
			mount = "$PWD"
		}
		r := e.Exec(nil, "sh", "-c", "cd "+dir+" && "+cli+" run -d --name web -p 8080:80 -v "+mount+":/usr/share/nginx/html "+ref("nginx")+":1.25").OK()
		if id := r.Trim(); len(id) < 64 {
			t.Errorf("run -d printed %q", id)
		}
		if got := get(t, "http://127.0.0.1:8080/"); got != "first\n" {
			t.Errorf("the page is %q", got)
		}
		write("second\n")
		if got := get(t, "http://127.0.0.1:8080/"); got != "second\n" {
			t.Errorf("after the edit the page is %q", got)
		}
		if out := e.Docker("ps", "--format", "{{.Names}} {{.Ports}}").OK().Out; !strings.Contains(out, "web 0.0.0.0:8080->80/tcp") {
			t.Errorf("ps: %q", out)
		}
		e.Docker("stop", "web").OK()
		if out := e.Docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web").OK().Trim(); out != "exited 0" {
			t.Errorf("after stop: %s", out)
		}
		e.Docker("rm", "web").OK()
	}
}

// The raw API, by curl alone.
func TestCurl(t *testing.T) {
	e, ref := start(t)
	curl := func(args ...string) *rig.Result {
		t.Helper()
		return e.Exec(nil, append([]string{"curl", "-sS", "--fail-with-body", "--unix-socket", e.Socket}, args...)...).OK()
	}
	curl("-X", "POST", "http://d/v1.37/images/create?fromImage="+ref("hello-world")+"&tag=latest").Says("Downloaded newer image")
	id := curl("-X", "POST", "-H", "Content-Type: application/json", "-d", `{"Image":"`+ref("hello-world")+`"}`, "http://d/v1.37/containers/create?name=hello").Says(`"Id"`)
	_ = id
	curl("-X", "POST", "http://d/v1.37/containers/hello/start")
	curl("-X", "POST", "http://d/v1.37/containers/hello/wait").Says(`"StatusCode":0`)
	curl("http://d/v1.37/containers/hello/logs?stdout=1").Says("Hello from the registry!")
}

// A newcomer's first command, on a machine without any image.
func TestHello(t *testing.T) {
	e := rig.Start(t)
	e.Conex("run", "--rm", "hello").OK().Says("Conex")
	e.Docker("run", "--rm", "hello").OK().Says("Conex")
}
