package registry

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// configure writes a registry's hosts.toml.
func configure(t *testing.T, dir, domain, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, domain), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, domain, hostsFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// library serves blob1 as every blob and good as every manifest, and writes down what it was asked.
type library struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

var good = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`)

func newLibrary(t *testing.T, tls bool) *library {
	l := &library{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.asked = append(l.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("X-Team")+" "+r.Header.Get("Authorization")))
		l.mu.Unlock()
		if strings.Contains(r.URL.Path, "/manifests/") {
			_, _ = w.Write(good)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
	})
	if l.Server = httptest.NewServer(h); tls {
		l.Close()
		l.Server = httptest.NewTLSServer(h)
	}
	t.Cleanup(l.Close)
	return l
}

func (l *library) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := strings.Join(l.asked, "\n")
	l.asked = nil
	return s
}

// TestHostsFile: a mirror by its file, with header and prefix, read anew for each Repository; the user's credentials
// stay with the registry.
func TestHostsFile(t *testing.T) {
	dir := t.TempDir()
	mirror, other := newLibrary(t, false), newLibrary(t, false)
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	get := func() error {
		_, err := read(t, c.Repository("private.invalid", "team/app", user), describe(blob1))
		return err
	}
	if err := get(); err == nil {
		t.Fatal("a registry that is not there was read")
	}
	configure(t, dir, "private.invalid", fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\"]\n[host.%q.header]\nx-team = \"blue\"\n",
		other.URL, mirror.URL+"/cache", mirror.URL+"/cache"))
	if err := get(); err != nil {
		t.Fatal(err)
	}
	want := "GET /cache/v2/team/app/blobs/" + describe(blob1).Digest.String() + "?ns=private.invalid blue"
	if got := mirror.take(); got != want {
		t.Errorf("the mirror was asked %q, want %q", got, want)
	}
	if _, _, err := c.Repository("private.invalid", "team/app", user).Manifest(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if m, o := mirror.take(), other.take(); m != "" || o != "GET /v2/team/app/manifests/1" {
		t.Errorf("a tag was resolved by %q and %q: only pull was allowed to the mirror", m, o)
	}
	configure(t, dir, "private.invalid", fmt.Sprintf("[host.%q]\noverride_path = true\n", other.URL+"/x"))
	if err := get(); err != nil {
		t.Fatal(err)
	}
	if got := other.take(); !strings.HasPrefix(got, "GET /x/team/app/blobs/") || mirror.take() != "" {
		t.Errorf("the new file was not read: %q", got)
	}
	configure(t, dir, "_default", fmt.Sprintf("[host.%q]\n", mirror.URL))
	if _, err := read(t, c.Repository("elsewhere.invalid", "a", Credentials{}), describe(blob1)); err != nil || mirror.take() == "" {
		t.Errorf("_default is not asked: %v", err)
	}
}

// TestHostsCredentials: what a file has for a host goes there, and where a redirect leads gets neither it nor headers.
func TestHostsCredentials(t *testing.T) {
	dir, target := t.TempDir(), newLibrary(t, false)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "robot" || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, target.URL+"/cdn", http.StatusFound)
	}))
	defer srv.Close()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	configure(t, dir, "a.invalid", fmt.Sprintf(
		"[host.%q.header]\nX-Team = [\"blue\"]\n[host.%q.auth]\nusername = 'robot'\npassword_file = '../secret'\n", srv.URL, srv.URL))
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	if _, err := read(t, c.Repository("a.invalid", "x", user), describe(blob1)); err != nil {
		t.Fatal(err)
	}
	if got := target.take(); got != "GET /cdn" {
		t.Errorf("after a redirect: %q", got)
	}
	configure(t, dir, "a.invalid", "[auth]\nusername = 'robot'\npassword = 'hunter2'\n")
	if err := os.Chmod(filepath.Join(dir, "a.invalid", hostsFile), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := read(t, c.Repository("a.invalid", "x", user), describe(blob1))
	if err == nil || !strings.Contains(err.Error(), "everybody may read it") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password for everybody: %v", err)
	}
}

func TestHostsTLS(t *testing.T) {
	dir, srv := t.TempDir(), newLibrary(t, true)
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	c.networks = nil // the loopback is a stranger here
	get := func() error {
		_, err := read(t, c.Repository("a.invalid", "x", user), describe(blob1))
		return err
	}
	configure(t, dir, "a.invalid", fmt.Sprintf("server = %q\n", srv.URL))
	if err := get(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
	configure(t, dir, "a.invalid", fmt.Sprintf("server = %q\nskip_verify = true\n", srv.URL))
	if err := get(); err != nil {
		t.Error(err)
	}
	configure(t, dir, "a.invalid", fmt.Sprintf("server = %q\nca = \"ca.pem\"\n", srv.URL))
	if err := get(); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("missing authority: %v", err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "a.invalid", "ca.pem"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Errorf("the authority that came meanwhile is not read: %v", err)
	}
}

func TestHostsAreStrict(t *testing.T) {
	for text, want := range map[string]string{
		"skip_verfy = true":     "line 1: skip_verfy is not known here",
		"\nskip_verify = 'yes'": "line 2: skip_verify must be a bool",
		"[host.\"https://a\"]\ncapabilities = ['push', 'delete']": `capability "delete" is not known`,
		"[host.\"ftp://a\"]":                         "is not http://host or https://host",
		"[host.\"https://me:pw@a\"]":                 `"https://***@a": a user name belongs into the table auth`,
		"[host.\"https://a?x=y\"]":                   "is not http://host or https://host",
		"[host]\nx = 1":                              "must be a table",
		"host = 1":                                   `write [host."https://..."]`,
		"[host.\"https://a\"]\nserver = 'https://b'": "belongs to the top",
		"client = [['a', 'b', 'c']]":                 "client must be",
		"[header]\n'x y' = 'z'":                      "cannot be sent",
		"[header]\nx = \"a\\nb\"":                    "cannot be sent",
		"[auth]\ntoken = 'x'":                        "use username, password",
		"dial_timeout = 5":                           "must be a duration",
	} {
		_, err := parseHosts(text, "/nowhere", "x.example")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	dir := t.TempDir()
	configure(t, dir, "a.invalid", "[host.\"https://b.invalid\"]\ncapabilities = []\n")
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	configure(t, dir, "a.invalid", "what")
	_, err := read(t, c.Repository("a.invalid", "x", user), describe(blob1))
	if !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "a.invalid/hosts.toml: line 1: '=' is missing") {
		t.Errorf("a bad file: %v", err)
	}
	for _, domain := range []string{"..", "../a", "", "_default"} {
		if _, err := read(t, c.Repository(domain, "x", user), describe(blob1)); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("domain %q: %v", domain, err)
		}
	}
}

// TestBrokenMirrors: one that always breaks off in the same place and one that does not answer cost a little time, not the
// pull; the second is not asked for each blob.
func TestBrokenMirrors(t *testing.T) {
	dir, origin := t.TempDir(), newLibrary(t, false)
	var asked int
	var mu sync.Mutex
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			w.Header().Set("Content-Length", fmt.Sprint(len(blob1)))
			_, _ = w.Write(blob1[:len(blob1)/2])
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", len(blob1)/2, len(blob1)-1, len(blob1)))
		w.Header().Set("Content-Length", fmt.Sprint(len(blob1)-len(blob1)/2))
		w.WriteHeader(http.StatusPartialContent) // and not a byte
	}))
	defer half.Close()
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer down.Close()
	configure(t, dir, "a.invalid", fmt.Sprintf("server = %q\n[host.%q]\n[host.%q]\n", origin.URL, down.URL, half.URL))
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	for range 3 {
		got, err := read(t, c.Repository("a.invalid", "x", Credentials{}), describe(blob1))
		if err != nil || !bytes.Equal(got, blob1) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if asked == 0 || asked > 2*mirrorTries {
		t.Errorf("a mirror that is down was asked %d times", asked)
	}
}
