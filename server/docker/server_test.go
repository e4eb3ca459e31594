package docker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/conex-containers/conex/api/docker"
)

// serve starts the door on a unix socket before an engine in memory.
func serve(t testing.TB, d *double) (s *Server, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s = New(Config{Backend: d.backend(), Product: "0.1", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	srv := &http.Server{Handler: s}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		_ = os.RemoveAll(dir)
	})
	return s, socket
}

// ask drives the door without a network.
func ask(s *Server, method, path, body string) *httptest.ResponseRecorder {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, path, r)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	return w
}

func door(d *double) *Server {
	return New(Config{Backend: d.backend(), Product: "0.1", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

func TestErrorsAreDockers(t *testing.T) {
	s := door(newDouble())
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1.23/info", "", 400, `{"message":"client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"}`},
		{"GET", "/v1.99/info", "", 400, `{"message":"client version 1.99 is too new. Maximum supported API version is ` + docker.DefaultVersion + `"}`},
		{"HEAD", "/v1.99/_ping", "", 400, ``},
		{"GET", "/nothing", "", 404, `{"message":"page not found"}`},
		{"GET", "/v1/info", "", 404, `{"message":"page not found"}`},
		{"POST", "/info", "", 404, `{"message":"page not found"}`},
		{"GET", "/v1.24/system/df", "", 404, `{"message":"page not found"}`},
		{"GET", "/containers/nope/json", "", 404, `{"message":"No such container: nope"}`},
		{"POST", "/containers/create", "", 400, `{"message":"invalid JSON: got EOF while reading request body"}`},
		{"POST", "/containers/create", "{}", 400, `{"message":"config cannot be empty in order to create a container"}`},
		{"POST", "/containers/create", `{"Image":`, 400, `{"message":"invalid JSON: the request body ends in the middle of the document"}`},
		{"POST", "/containers/create", `{"Image":"busybox"} {"x":1}`, 400, `{"message":"unexpected content after JSON"}`},
		{"POST", "/containers/create", `{"Image":"nope"}`, 404, `{"message":"No such image: nope:latest"}`},
		{"POST", "/containers/x/resize?h=a&w=1", "", 400, `{"message":"invalid value \"a\" for parameter h: must be a number from 0 to 65535"}`},
		{"POST", "/containers/x/wait?condition=never", "", 400, `{"message":"invalid condition: \"never\""}`},
		{"GET", "/containers/x/logs", "", 400, `{"message":"Bad parameters: you must choose at least one stream"}`},
		{"POST", "/containers/x/stop?t=a", "", 400, `{"message":"invalid value \"a\" for parameter t: must be an integer"}`},
		{"GET", "/containers/json?filters=x", "", 400, `{"message":"invalid filters: invalid character 'x' looking for beginning of value"}`},
		{"GET", "/volumes?filters=" + `{"nmae":["x"]}`, "", 400, `{"message":"invalid filter 'nmae': use one of dangling, driver, label, label!, name"}`},
		{"GET", "/images/search", "", 501, `{"message":"GET /images/search is not implemented by Conex"}`},
		{"GET", "/swarm", "", 503, `{"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}`},
		{"GET", "/plugins/a/b/json", "", 404, `{"message":"plugin \"a/b\" not found"}`},
		{"POST", "/images/create", "", 400, `{"message":"one of the parameters fromImage and fromSrc must be set"}`},
		{"POST", "/auth", `{"serveraddress":"r","password":"x"}`, 401, `{"message":"login attempt to r failed with status: 401 Unauthorized"}`},
	} {
		w := ask(s, c.method, strings.ReplaceAll(c.path, `"`, "%22"), c.body)
		got := strings.TrimSuffix(w.Body.String(), "\n")
		if c.method == "HEAD" {
			got = ""
		}
		if w.Code != c.status || got != c.want {
			t.Errorf("%s %s %s: %d %s\nwant %d %s", c.method, c.path, c.body, w.Code, got, c.status, c.want)
		}
		if c.method != "HEAD" && w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, w.Header().Get("Content-Type"))
		}
	}
}

func TestWrongTypeNamesTheField(t *testing.T) {
	w := ask(door(newDouble()), "POST", "/containers/create", `{"Image":"busybox","HostConfig":{"Memory":"lots"}}`)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "Memory: cannot take a string, must be int64") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBodyIsBounded(t *testing.T) {
	w := ask(door(newDouble()), "POST", "/containers/create", `{"Image":"`+strings.Repeat("x", maxBody)+`"}`)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %.200s", w.Code, w.Body)
	}
}

func TestOtherContentTypeIsRefused(t *testing.T) {
	req := httptest.NewRequest("POST", "/containers/create", strings.NewReader(`{"Image":"busybox"}`))
	req.Header.Set("Content-Type", "text/plain")
	w := httptest.NewRecorder()
	door(newDouble()).ServeHTTP(w, req)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "must be 'application/json'") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPingHeaders(t *testing.T) {
	s := door(newDouble())
	for _, c := range [][2]string{{"HEAD", "/_ping"}, {"GET", "/_ping"}, {"GET", "/v1.24/_ping"}, {"HEAD", "/v" + docker.DefaultVersion + "/_ping"}} {
		w := ask(s, c[0], c[1], "")
		if w.Code != 200 {
			t.Errorf("%v: %d %s", c, w.Code, w.Body)
		}
		if body := w.Body.String(); c[0] == "GET" && body != "OK" || c[0] == "HEAD" && body != "" {
			t.Errorf("%v: body %q", c, body)
		}
		for k, want := range map[string]string{"Api-Version": docker.DefaultVersion, "Ostype": "linux", "Docker-Experimental": "false",
			"Server": "Conex/0.1 (linux)", "Builder-Version": "1", "Swarm": "inactive", "Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"} {
			if got := w.Header().Get(k); got != want {
				t.Errorf("%v: %s is %q, want %q", c, k, got, want)
			}
		}
	}
}

func TestPanicBecomes500(t *testing.T) {
	d := newDouble()
	d.onList = func() { panic("oops") }
	s := door(d)
	w := ask(s, "GET", "/containers/json", "")
	if w.Code != 500 || !strings.Contains(w.Body.String(), "panic") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	d.onList = nil
	if w := ask(s, "GET", "/_ping", ""); w.Code != 200 {
		t.Errorf("after the panic: %d", w.Code)
	}
}

// TestRoutesCoverTheDescription holds the routes table against the API's own description: every endpoint of it is
// a row, served or refused by name.
func TestRoutesCoverTheDescription(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		t.Skip("no module cache:", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "swagger.yaml"))
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = f.Close() }()
	table := newRouter(door(newDouble()).routes())
	pathLine, verbLine := regexp.MustCompile(`^  (/[^:]*):`), regexp.MustCompile(`^    (get|post|put|delete|head|options):`)
	path, n := "", 0
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if m := pathLine.FindStringSubmatch(sc.Text()); m != nil {
			path = m[1]
		} else if m := verbLine.FindStringSubmatch(sc.Text()); m != nil && path != "" {
			n++
			concrete := strings.NewReplacer("{id}", "abc", "{name}", "abc").Replace(path)
			rt, _ := table.find(strings.ToUpper(m[1]), concrete)
			if rt == nil {
				t.Errorf("no route for %s %s", m[1], path)
			} else if strings.ReplaceAll(strings.ReplaceAll(rt.path, "{name...}", "{}"), "{name}", "{}") != strings.ReplaceAll(path, "{name}", "{}") && !strings.Contains(path, "{id}") {
				t.Errorf("%s %s is routed to %s", m[1], path, rt.path)
			}
		}
	}
	if n < 100 {
		t.Fatalf("only %d endpoints found in the description", n)
	}
}

func TestRouter(t *testing.T) {
	table := newRouter(door(newDouble()).routes())
	for _, c := range []struct{ method, path, want, v0 string }{
		{"GET", "/images/docker.io/library/nginx:1.25/json", "/images/{name...}/json", "docker.io/library/nginx:1.25"},
		{"GET", "/images/localhost:5000/a/b/history", "/images/{name...}/history", "localhost:5000/a/b"},
		{"GET", "/images/json/json", "/images/{name...}/json", "json"},
		{"GET", "/images/json", "/images/json", ""},
		{"GET", "/images/get", "/images/get", ""},
		{"GET", "/images/a/get/get", "/images/{name...}/get", "a/get"},
		{"DELETE", "/images/a/b@sha256:ff", "/images/{name...}", "a/b@sha256:ff"},
		{"POST", "/images/a/b/push", "/images/{name...}/push", "a/b"},
		{"GET", "/containers//name/json", "/containers/{id}/json", "name"},
		{"GET", "/containers/a/b/json", "", ""},
		{"DELETE", "/containers/a", "/containers/{id}", "a"},
		{"GET", "/plugins/privileges", "/plugins/privileges", ""},
		{"GET", "/distribution/a/b/json", "/distribution/{name...}/json", "a/b"},
		{"DELETE", "/containers/c/checkpoints/p", "/containers/{id}/checkpoints/{name}", "c"},
		{"GET", "/", "", ""},
		{"GET", "", "", ""},
	} {
		rt, v := table.find(c.method, c.path)
		got := ""
		if rt != nil {
			got = rt.path
		}
		if got != c.want || v[0] != c.v0 {
			t.Errorf("%s %s: %q %q, want %q %q", c.method, c.path, got, v[0], c.want, c.v0)
		}
	}
}

func TestPullStream(t *testing.T) {
	s := door(newDouble())
	if w := ask(s, "POST", "/images/create?fromImage=missing&tag=1", ""); w.Code != 404 {
		t.Errorf("error before the stream: %d %s", w.Code, w.Body)
	}
	w := ask(s, "POST", "/v1.44/images/create?fromImage=broken&tag=1", "")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if last := lines[len(lines)-1]; last != `{"errorDetail":{"code":503,"message":"registry went away"},"error":"registry went away"}` {
		t.Errorf("last line %s", last)
	}
	var bars int
	for _, l := range lines {
		var m message
		if err := json.Unmarshal([]byte(l), &m); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		if m.Status == "Downloading" {
			bars++
			if m.Progress.Current == 1000 && !strings.Contains(m.Text, "1kB/1kB") {
				t.Errorf("bar text %q", m.Text)
			}
		}
	}
	if bars < 2 || bars > 5 {
		t.Errorf("%d bar lines of 11 steps in no time", bars)
	}
}

func TestLegacyAnswers(t *testing.T) {
	d := newDouble()
	s := door(d)
	if w := ask(s, "POST", "/v1.51/containers/create?name=c1", `{"Image":"busybox","Cmd":"echo","Entrypoint":"/x","MacAddress":"02:42:ac:11:00:09"}`); w.Code != 201 {
		t.Fatal(w.Code, w.Body)
	}
	req := d.containers[0].req
	if len(req.Cmd) != 1 || req.Cmd[0] != "echo" || len(req.Entrypoint) != 1 {
		t.Errorf("cmd %q entrypoint %q", req.Cmd, req.Entrypoint)
	}
	if ep := req.NetworkingConfig.EndpointsConfig["bridge"]; ep == nil || ep.MacAddress.String() != "02:42:ac:11:00:09" {
		t.Errorf("mac not moved: %+v", req.NetworkingConfig)
	}
	old := ask(s, "GET", "/v1.44/containers/c1/json", "").Body.String()
	if !strings.Contains(old, `"IPAddress":"172.17.0.2","IPPrefixLen":16,"IPv6Gateway":"","MacAddress":"02:42:00:00:00:02","Networks"`) {
		t.Errorf("no legacy network settings: %s", old)
	}
	if df := ask(s, "GET", "/v1.51/system/df", "").Body.String(); !strings.HasPrefix(df, `{"LayersSize":42,"Images":[{`) || !strings.Contains(df, `"BuildCache":[]`) {
		t.Errorf("df %s", df)
	}
	if l := ask(s, "GET", "/v1.43/images/json", "").Body.String(); !strings.Contains(l, `"VirtualSize":1234567`) {
		t.Errorf("images %s", l)
	}
	if e := ask(s, "GET", "/v1.51/events?until=1", "").Body.String(); e != `{"status":"start","id":"x","from":"busybox","Type":"container","Action":"start","Actor":{"ID":"x","Attributes":{"image":"busybox"}},"scope":"local","time":1,"timeNano":1}`+"\n" {
		t.Errorf("event %s", e)
	}
	if v := ask(s, "POST", "/v1.41/volumes/create", `{"Name":"v"}`); v.Code != 201 {
		t.Fatal(v.Code)
	}
	if p := ask(s, "POST", "/v1.41/volumes/prune", "").Body.String(); !strings.Contains(p, `["v"]`) {
		t.Errorf("prune of 1.41: %s", p)
	}
	if p := ask(s, "POST", "/v1.42/volumes/prune", "").Body.String(); strings.Contains(p, `["v"]`) {
		t.Errorf("prune of 1.42: %s", p)
	}
}

func TestNotModifiedHasNoBody(t *testing.T) {
	d := newDouble()
	s := door(d)
	ask(s, "POST", "/containers/create?name=c1", `{"Image":"busybox","Cmd":["sleep"]}`)
	if w := ask(s, "POST", "/containers/c1/start", ""); w.Code != 204 {
		t.Fatal(w.Code)
	}
	if w := ask(s, "POST", "/containers/c1/start", ""); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

func TestAttachForms(t *testing.T) {
	d := newDouble()
	s, socket := serve(t, d)
	for i, c := range []struct{ version, upgrade, status, kind string }{
		{"1.42", "Upgrade: tcp\r\nConnection: Upgrade\r\n", "HTTP/1.1 101 UPGRADED", "application/vnd.docker.multiplexed-stream"},
		{"1.41", "Upgrade: tcp\r\nConnection: Upgrade\r\n", "HTTP/1.1 101 UPGRADED", "application/vnd.docker.raw-stream"},
		{"1.42", "", "HTTP/1.1 200 OK", "application/vnd.docker.multiplexed-stream"},
	} {
		name := string(rune('a'+i)) + "ttach"
		ask(s, "POST", "/containers/create?name="+name, `{"Image":"busybox","Cmd":["echo","hello"]}`)
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, "POST /v"+c.version+"/containers/"+name+"/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"+c.upgrade+"Content-Length: 0\r\n\r\n")
		br := bufio.NewReader(conn)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := "HTTP/1.1 " + resp.Status; got != c.status || resp.Header.Get("Content-Type") != c.kind {
			t.Errorf("%+v: %s %s", c, got, resp.Header)
		}
		if c.upgrade != "" && (resp.Header.Get("Upgrade") != "tcp" || resp.Header.Get("Connection") != "Upgrade") {
			t.Errorf("%+v: %s", c, resp.Header)
		}
		ask(s, "POST", "/containers/"+name+"/start", "")
		b, err := io.ReadAll(br)
		if err != nil || !bytes.Equal(b, []byte("\x01\x00\x00\x00\x00\x00\x00\x06hello\n")) {
			t.Errorf("%+v: %q %v", c, b, err)
		}
		_ = conn.Close()
	}
	if w := ask(s, "POST", "/containers/nope/attach?stream=1", ""); w.Code != 404 {
		t.Errorf("unknown container: %d", w.Code)
	}
}

func TestAuthHeaderForms(t *testing.T) {
	for _, h := range []string{
		"eyJ1c2VybmFtZSI6InU_fj4iLCJwYXNzd29yZCI6InAifQ==",
		"eyJ1c2VybmFtZSI6InU_fj4iLCJwYXNzd29yZCI6InAifQ",
		"eyJ1c2VybmFtZSI6InU/fj4iLCJwYXNzd29yZCI6InAifQ==",
	} {
		if a, err := parseAuth(h); err != nil || a.Username != "u?~>" || a.Password != "p" {
			t.Errorf("%s: %+v %v", h, a, err)
		}
	}
	for _, h := range []string{"%%%", "bm90IGpzb24", strings.Repeat("A", maxAuth+1)} {
		if _, err := parseAuth(h); err == nil {
			t.Errorf("%.20q was taken", h)
		}
	}
	if a, err := parseAuth("eyJhdXRoIjoiZFRwdyJ9"); err != nil || a.Username != "u" || a.Password != "p" {
		t.Errorf("%+v %v", a, err)
	}
}

func TestJoinTag(t *testing.T) {
	for _, c := range [][3]string{
		{"nginx", "1", "nginx:1"}, {"nginx:2", "1", "nginx:1"}, {"h:5000/a", "1", "h:5000/a:1"}, {"h:5000/a", "", "h:5000/a"},
		{"h:5000/a:3", "sha256:ff", "h:5000/a@sha256:ff"}, {"a@sha256:ee", "1", "a:1"}, {"a:1@sha256:ee", "2", "a:2"},
	} {
		if got := joinTag(c[0], c[1]); got != c[2] {
			t.Errorf("joinTag(%q, %q) = %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

// The platform parameter is a JSON document or the short form, and older versions do not have it.
func TestPlatformParameter(t *testing.T) {
	d := newDouble()
	d.images["busybox:latest"] = true
	s := door(d)
	const arm = "%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm%22%2C%22variant%22%3A%22v7%22%7D"
	for _, c := range []struct {
		path, platform string
		status         int
	}{
		{"/v1.49/images/busybox/json?platform=" + arm, "linux/arm/v7", 200},
		{"/images/busybox/json?platform=linux/arm64", "linux/arm64", 200},
		{"/v1.48/images/busybox/json?platform=" + arm, "", 200},
		{"/images/busybox/json?platform=%7B%22os%22%3A%22linux%22%7D", "", 400},
		{"/images/busybox/json?platform=%7B", "", 400},
		{"/images/busybox/json?platform=linux&platform=windows", "", 400},
		{"/images/busybox/json?manifests=1&platform=linux", "", 400},
	} {
		d.platform = ""
		if w := ask(s, "GET", c.path, ""); w.Code != c.status || d.platform != c.platform {
			t.Errorf("%s: %d, %q: %s", c.path, w.Code, d.platform, w.Body)
		}
	}
	if w := ask(s, "DELETE", "/images/busybox?platforms="+arm+"&platforms=linux/s390x", ""); w.Code != 200 || d.platform != "linux/arm/v7,linux/s390x" {
		t.Errorf("removal of platforms: %d %q %s", w.Code, d.platform, w.Body)
	}
}

// A pull or push without a tag is of all tags.
func TestTransfersWithoutATag(t *testing.T) {
	d := newDouble()
	s := door(d)
	for path, all := range map[string]bool{
		"/images/create?fromImage=busybox":                     true,
		"/images/create?fromImage=localhost:5000/busybox&tag=": true,
		"/images/create?fromImage=busybox&tag=latest":          false,
		"/images/create?fromImage=localhost:5000/busybox:1":    false,
		"/images/busybox/push":                                 true,
		"/images/busybox/push?tag=1":                           false,
	} {
		d.allTags = !all
		if w := ask(s, "POST", path, ""); w.Code != 200 || d.allTags != all {
			t.Errorf("%s: %d, all tags %v", path, w.Code, d.allTags)
		}
	}
}
