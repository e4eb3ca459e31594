package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCheck: the steps of a registry with tokens, of one with passwords, and of what fails; no secret is told.
func TestCheck(t *testing.T) {
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token" && (u != "me" || p != password):
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/token":
			fmt.Fprint(w, `{"token":"very-secret"}`)
		case strings.HasPrefix(r.URL.Path, "/basic/") && u+p != "me"+password:
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case !strings.HasPrefix(r.URL.Path, "/basic/") && r.Header.Get("Authorization") != "Bearer very-secret":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token?state=hidden",service="the service"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/app/tags/list"):
			fmt.Fprint(w, `{"tags":["1"]}`)
		case strings.HasSuffix(r.URL.Path, "/v2/"):
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	dir, domain := t.TempDir(), hostOf(srv.URL)
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	for name, want := range map[string]struct {
		file, domain, path string
		creds              Credentials
		ok                 bool
		says               string
	}{
		"token":             {"", domain, "app", user, true, `ok auth bearer: token server http://` + domain + `/token, service "the service": token received, as me; ok repository app: readable, its first tag is "1"`},
		"no repository":     {"", domain, "none", user, false, "FAIL repository none is not there"},
		"wrong password":    {"", domain, "app", Credentials{Username: "me", Password: "guess"}, false, "unauthorized: incorrect username or password"},
		"whole registry":    {"", domain, "", user, true, "token received"},
		"basic":             {fmt.Sprintf("server = %q\n[auth]\nusername = 'me'\npassword = %q\n", srv.URL+"/basic", password), "b.invalid", "app", Credentials{}, true, "ok auth basic: accepted, as me; ok repository"},
		"basic, no login":   {fmt.Sprintf("server = %q\n", srv.URL+"/basic"), "b.invalid", "app", Credentials{}, false, "conex login b.invalid"},
		"basic, wrong":      {fmt.Sprintf("server = %q\n", srv.URL+"/basic"), "b.invalid", "app", Credentials{Username: "me", Password: "guess"}, false, "wrong username or password for me"},
		"dead mirror":       {fmt.Sprintf("server = %q\n[host.\"http://127.0.0.1:1\"]\n", srv.URL), "b.invalid", "app", user, true, "FAIL connect registry 127.0.0.1:1: repository app: dial tcp 127.0.0.1:1: connect: connection refused; ok connect"},
		"not a registry":    {fmt.Sprintf("server = %q\noverride_path = true\n", srv.URL+"/basic/x"), "b.invalid", "", user, false, "FAIL auth"},
		"bad file":          {"x = 1", "b.invalid", "", user, false, "hosts.toml: line 1: x is not known here"},
		"plain http":        {fmt.Sprintf("server = 'https://%s'\n", domain), "b.invalid", "", user, false, "it speaks plain http"},
		"nobody is asked":   {fmt.Sprintf("server = %q\ncapabilities = ['push']\n", srv.URL), "b.invalid", "", user, false, "token received"},
		"no such host":      {"", "nowhere.invalid", "", user, false, "FAIL connect"},
		"not a host at all": {"", "..", "", user, false, "not a host name"},
	} {
		configure(t, dir, "b.invalid", want.file)
		report := c.Check(t.Context(), want.domain, want.path, want.creds)
		said := []string{report.Error}
		for _, h := range report.Hosts {
			for _, s := range h.Steps {
				mark := "ok"
				if !s.OK {
					mark = "FAIL"
				}
				said = append(said, mark+" "+s.Name+" "+s.Text)
			}
		}
		if text := strings.Join(said, "; "); report.OK != want.ok || !strings.Contains(text, want.says) {
			t.Errorf("%s: ok %v, says %s; want %v, %s", name, report.OK, text, want.ok, want.says)
		}
		all, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{password, "guess", "very-secret", "hidden"} {
			if strings.Contains(string(all), secret) {
				t.Errorf("%s: the report tells %q: %s", name, secret, all)
			}
		}
	}
}
