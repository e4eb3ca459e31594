package security

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/test/rig"
)

// Credentials of a registry go to that registry alone: not along a redirect to another host, not to a layer's other
// address (CVE-2020-15157), not where a location of an upload leads, and not into a log or an error.
// The token server that a registry names gets them only by TLS or when it is trusted as the registry is.
func TestCredentialsStayAtHome(t *testing.T) {
	e := rig.Start(t)
	const user, password = "alice", "s3cret-of-alice"
	l := archive(t, file("f", "x"))
	logins := t.TempDir()
	login := func(hosts ...string) {
		auths := map[string]any{}
		for _, h := range hosts {
			auths[h] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
		}
		if err := os.WriteFile(logins+"/config.json", encode(t, map[string]any{"auths": auths}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	docker := func(args ...string) *rig.Result {
		return e.Exec(nil, append([]string{"env", "DOCKER_CONFIG=" + logins, "docker"}, args...)...)
	}
	private := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
				w.Header().Set("WWW-Authenticate", `Basic realm="home"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next(w, r)
		}
	}
	silent := func(s *stall, what string) {
		t.Helper()
		for _, r := range s.requests("/") {
			if h := fmt.Sprint(r.Header, r.URL); strings.Contains(h, "Basic") || strings.Contains(h, password) || strings.Contains(h, "Bearer") {
				t.Errorf("%s: %s %s got %s", what, r.Method, r.URL, h)
			}
		}
	}
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, what := range []string{"blobs/" + rig.Digest(l), "manifests/1"} {
			home, thief := newStall(t), newStall(t)
			login(home.addr)
			g := goods{layers: [][]byte{l}}
			home.offer(t, "1", g)
			thief.offer(t, "1", g)
			for path, page := range home.pages {
				home.page(path, private(page))
			}
			home.page("", private(func(http.ResponseWriter, *http.Request) {}))
			home.page("x/"+what, private(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://"+thief.addr+"/v2/x/"+what, code)
			}))
			r := docker("pull", "-q", home.addr+"/x:1")
			silent(thief, fmt.Sprint(code, " of ", what))
			if len(thief.requests("/")) == 0 && r.Code == 0 {
				t.Errorf("%d of %s: the redirect was not met", code, what)
			}
			docker("rmi", "-f", home.addr+"/x:1")
			docker("image", "prune", "-f")
		}
	}
	// An upload's location elsewhere.
	home, thief := newStall(t), newStall(t)
	login(home.addr)
	home.page("", private(func(http.ResponseWriter, *http.Request) {}))
	home.page("x/blobs/uploads/", private(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://"+thief.addr+"/v2/x/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	}))
	thief.page("x/blobs/uploads/1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })
	im := rig.Busybox(t)
	e.Exec(im.ArchiveBytes(t, home.addr+"/x:1"), "docker", "load").OK()
	docker("push", home.addr+"/x:1").Exits(1)
	silent(thief, "upload")
	docker("rmi", "-f", home.addr+"/x:1")
	// A login is not another registry's, nor another port's.
	other := newStall(t)
	login(home.addr)
	other.page("", private(func(http.ResponseWriter, *http.Request) {}))
	docker("pull", other.addr+"/x:1").Exits(1)
	silent(other, "another port")
	log, err := os.ReadFile(e.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password))} {
		if strings.Contains(string(log), secret) {
			t.Error("the password is in the daemon's log")
		}
	}
}
