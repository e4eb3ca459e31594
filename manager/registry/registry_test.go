package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

const password = "s3cret-password"

var (
	user  = Credentials{Username: "me", Password: password}
	fast  = Timeouts{Backoff: time.Millisecond, Stall: 300 * time.Millisecond}
	blob1 = []byte(strings.Repeat("blob ", 10_000))
)

func describe(data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// recorder keeps every request's Authorization header, by host and path.
type recorder struct {
	mu   sync.Mutex
	seen []string
}

func (r *recorder) note(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, req.Host+req.URL.Path+" "+req.Header.Get("Authorization"))
}

func (r *recorder) leaked(host string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var bad []string
	for _, s := range r.seen {
		if strings.HasPrefix(s, host) && !strings.HasSuffix(s, " ") {
			bad = append(bad, s)
		}
	}
	return bad
}

func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	return rest
}

func read(t *testing.T, r *Repository, d ocispec.Descriptor) ([]byte, error) {
	t.Helper()
	b, err := r.Blob(t.Context(), d, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	return io.ReadAll(b)
}

// TestTokenFlow: 401 with a realm, a token from there with the password, the token on the registry, never elsewhere.
func TestTokenFlow(t *testing.T) {
	var tokens, blobs int
	var rec recorder
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.note(r)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
	}))
	defer elsewhere.Close()
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			tokens++
			if u, p, _ := r.BasicAuth(); u != "me" || p != password {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"token":"tok-%s","expires_in":300}`, r.URL.Query().Get("scope"))
			return
		}
		if r.Header.Get("Authorization") != "Bearer tok-repository:team/app:pull" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="reg, \"quoted\"",scope="repository:team/app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		blobs++
		http.Redirect(w, r, elsewhere.URL+"/cdn?signature=very-secret", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	c := New(Config{Timeouts: fast})
	for range 3 {
		got, err := read(t, c.Repository(hostOf(srv.URL), "team/app", user), describe(blob1))
		if err != nil || !bytes.Equal(got, blob1) {
			t.Fatal(err)
		}
	}
	if tokens != 1 || blobs != 3 {
		t.Errorf("%d tokens for %d blobs", tokens, blobs)
	}
	if bad := rec.leaked(hostOf(elsewhere.URL)); len(bad) > 0 {
		t.Errorf("credentials went to another host: %v", bad)
	}
	wrong := user
	wrong.Password = "wrong-" + password
	_, err := read(t, c.Repository(hostOf(srv.URL), "team/app", wrong), describe(blob1))
	if !errdefs.Is(err, errdefs.ErrUnauthenticated) || strings.Contains(err.Error(), password) {
		t.Errorf("wrong password: %v", err)
	}
}

// TestRedirects is attack I25: whatever the target, it gets no Authorization header.
func TestRedirects(t *testing.T) {
	var rec recorder
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.note(r)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
	}))
	defer target.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); !ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			http.Redirect(w, r, target.URL+"/x", status)
		}))
		if _, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", user), describe(blob1)); err != nil {
			t.Errorf("%d: %v", status, err)
		}
		srv.Close()
	}
	if bad := rec.leaked(""); len(bad) > 0 || len(rec.seen) != 5 {
		t.Errorf("leaked %v of %v", bad, rec.seen)
	}
}

// TestRealmWithoutTLS: a registry must not send the password to a host in the open.
func TestRealmWithoutTLS(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://attacker.example/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer srv.Close()
	_, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", user), describe(blob1))
	if err == nil || !strings.Contains(err.Error(), "token server attacker.example without TLS") {
		t.Errorf("got %v", err)
	}
}

// TestDowngrade: https never goes on to http.
func TestDowngrade(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/x?sig=secret", http.StatusFound)
	}))
	defer srv.Close()
	_, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", user), describe(blob1))
	if err == nil || !strings.Contains(err.Error(), "redirected without encryption") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestSetTrust(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
	}))
	defer srv.Close()
	c := New(Config{Timeouts: fast})
	c.networks = nil // the loopback is a stranger here
	get := func(domain string) error {
		_, err := read(t, c.Repository(domain, "a", Credentials{}), describe(blob1))
		return err
	}
	if err := get(hostOf(srv.URL)); err == nil {
		t.Error("plain http is read without trust")
	}
	c.SetTrust([]string{hostOf(srv.URL)}, []string{srv.URL})
	if err := get(hostOf(srv.URL)); err != nil {
		t.Errorf("a trusted registry: %v", err)
	}
	if err := get(dockerDomain); err != nil {
		t.Errorf("the mirror is not asked: %v", err)
	}
	c.SetTrust(nil, nil)
	c.networks = nil
	if err := get(hostOf(srv.URL)); err == nil {
		t.Error("trust that was taken away still holds")
	}
}

func TestCertificates(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer srv.Close()
	dir := t.TempDir()
	c := New(Config{CertDirs: []string{dir}, Timeouts: fast})
	c.networks = nil // the loopback is a stranger here
	_, err := read(t, c.Repository(hostOf(srv.URL), "a", Credentials{}), describe(blob1))
	if err == nil || !strings.Contains(err.Error(), "/etc/conex/certs.d/"+hostOf(srv.URL)+"/ca.crt") {
		t.Errorf("unknown authority: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, hostOf(srv.URL)), 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, hostOf(srv.URL), "ca.crt"), ca, 0o644); err != nil {
		t.Fatal(err)
	}
	c = New(Config{CertDirs: []string{dir}, Timeouts: fast})
	c.networks = nil
	if _, err := read(t, c.Repository(hostOf(srv.URL), "a", Credentials{}), describe(blob1)); err != nil {
		t.Error(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	_, err = read(t, c.Repository(hostOf(plain.URL), "a", Credentials{}), describe(blob1))
	if err == nil || !strings.Contains(err.Error(), "--insecure-registry "+hostOf(plain.URL)) {
		t.Errorf("plain http: %v", err)
	}
}

func TestMirrorsComeFirst(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2,"config":{},"layers":[]}`)
	var rec recorder
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec.note(r)
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write(manifest)
	}))
	defer mirror.Close()
	c := New(Config{Mirrors: []string{broken.URL, mirror.URL + "/prefix/"}, Timeouts: fast})
	d, data, err := c.Repository("docker.io", "library/nginx", user).Manifest(t.Context(), "1")
	if err != nil || !bytes.Equal(data, manifest) || d.Digest != digest.FromBytes(manifest) {
		t.Fatal(d, err)
	}
	if want := hostOf(mirror.URL) + "/prefix/v2/library/nginx/manifests/1 "; len(rec.seen) != 1 || rec.seen[0] != want {
		t.Errorf("seen %q, want %q", rec.seen, want)
	}
}

func TestRetriesAndStall(t *testing.T) {
	var mu sync.Mutex
	requests := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests++
		n := requests
		mu.Unlock()
		switch n {
		case 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		case 2:
			w.WriteHeader(http.StatusBadGateway)
		case 3: // silent after some bytes
			w.Header().Set("Content-Length", fmt.Sprint(len(blob1)))
			_, _ = w.Write(blob1[:1000])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
		}
	}))
	defer srv.Close()
	got, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", Credentials{}), describe(blob1))
	if err != nil || !bytes.Equal(got, blob1) || requests != 4 {
		t.Errorf("%v after %d requests", err, requests)
	}
}

func TestManifestsAreVerified(t *testing.T) {
	good := []byte(`{"schemaVersion":2,"config":{},"layers":[]}`)
	answer, kind, claim := good, ocispec.MediaTypeImageManifest, ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		if claim != "" {
			w.Header().Set("Docker-Content-Digest", claim)
		}
		_, _ = w.Write(answer)
	}))
	defer srv.Close()
	r := New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", Credentials{})
	if _, _, err := r.Manifest(t.Context(), digest.FromBytes(good).String()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		answer           string
		kind, claim, ref string
		want             string
	}{
		"other content": {string(good) + " ", ocispec.MediaTypeImageManifest, "", digest.FromBytes(good).String(), "does not match its digest"},
		"other claim":   {string(good), ocispec.MediaTypeImageManifest, digest.FromString("x").String(), "1", "does not match its digest"},
		"other type":    {string(good), ocispec.MediaTypeImageIndex, "", "1", "ambiguous"},
		"too large":     {strings.Repeat(" ", MaxManifest) + string(good), ocispec.MediaTypeImageManifest, "", "1", "is larger than"},
		"a web page":    {"<html>", "text/html", "", "1", "not a manifest"},
	} {
		answer, kind, claim = []byte(c.answer), c.kind, c.claim
		if _, _, err := r.Manifest(t.Context(), c.ref); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestUploadRestartsAndLogin(t *testing.T) {
	uploads, fail := map[string][]byte{}, 1
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != "me" || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.Method {
		case http.MethodPost:
			w.Header().Set("Location", "/v2/a/blobs/uploads/1?state=x")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodPut:
			body, _ := io.ReadAll(r.Body)
			if fail > 0 {
				fail--
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			uploads[r.URL.Query().Get("digest")+r.URL.Query().Get("state")] = body
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer srv.Close()
	c := New(Config{Timeouts: fast})
	d := describe(blob1)
	_, err := c.Repository(hostOf(srv.URL), "a", user).PutBlob(t.Context(), d, nil, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob1)), nil })
	if err != nil || !bytes.Equal(uploads[d.Digest.String()+"x"], blob1) {
		t.Errorf("%v, %d uploads", err, len(uploads))
	}
	if _, err := c.Login(t.Context(), hostOf(srv.URL), user); err != nil {
		t.Error(err)
	}
	if _, err := c.Login(t.Context(), hostOf(srv.URL), Credentials{Username: "me", Password: "no"}); !errdefs.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("wrong password: %v", err)
	}
}

func TestTagsOverPages(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last := r.URL.Query().Get("last")
		if last == "" {
			w.Header().Set("Link", `</v2/a/tags/list?last=b&n=2>; rel="next"`)
			_ = json.NewEncoder(w).Encode(map[string]any{"tags": []string{"a", "b"}})
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"tags": []string{last + "c"}})
	}))
	defer srv.Close()
	tags, err := New(Config{}).Repository(hostOf(srv.URL), "a", Credentials{}).Tags(t.Context())
	if err != nil || strings.Join(tags, " ") != "a b bc" {
		t.Errorf("%v %v", tags, err)
	}
}

func TestCancelEndsRetries(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	c := New(Config{Timeouts: Timeouts{Backoff: time.Hour}})
	if _, err := c.Repository(hostOf(srv.URL), "a", Credentials{}).Blob(ctx, describe(blob1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzHeaders: what registries send in headers is read without harm.
func FuzzHeaders(f *testing.F) {
	f.Add(`Bearer realm="https://a/b",service="c",scope="d"`, "bytes 1-2/3", `</v2/x?last=y>; rel="next"`)
	f.Add(`Basic realm="\"`, "bytes -", "<%zz>; rel=next")
	f.Fuzz(func(t *testing.T, auth, contentRange, link string) {
		if c := parseChallenges([]string{auth}); c != nil && c.scheme != "basic" && c.scheme != "bearer" {
			t.Errorf("scheme %q", c.scheme)
		}
		_, _ = rangeStart(contentRange)
		_ = nextPage(link)
		_ = nextQuery(link)
		if n, ok := rangeEnd(contentRange); ok && n < 0 {
			t.Errorf("range %q ends at %d", contentRange, n)
		}
	})
}

// A crash can come between the last byte and its check: nothing is asked for then, for there is no such range.
func TestBlobThatIsWhole(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
	}))
	defer srv.Close()
	desc := describe(blob1)
	r, err := New(Config{}).Repository(hostOf(srv.URL), "a", Credentials{}).Blob(t.Context(), desc, desc.Size)
	if err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
		t.Errorf("%d bytes and %v of a blob that is whole", len(rest), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestAttempts: what the administrator allows is what is tried.
func TestAttempts(t *testing.T) {
	for _, allowed := range []int{1, 3} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		_, err := read(t, New(Config{Timeouts: fast, Attempts: allowed}).Repository(hostOf(srv.URL), "a", Credentials{}), describe(blob1))
		srv.Close()
		if err == nil || asked != allowed {
			t.Errorf("%d requests of %d allowed: %v", asked, allowed, err)
		}
	}
}

// TestTokenExpiresInTheMiddle: the connection breaks, and the token has ended: the rest comes with a new one.
func TestTokenExpiresInTheMiddle(t *testing.T) {
	tokens, valid := 0, ""
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			tokens++
			valid = fmt.Sprint("t", tokens)
			fmt.Fprintf(w, `{"token":%q}`, valid)
		case r.Header.Get("Authorization") != "Bearer "+valid || valid == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get("Range") == "":
			valid = ""
			w.Header().Set("Content-Length", fmt.Sprint(len(blob1)))
			_, _ = w.Write(blob1[:len(blob1)/3])
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob1))
		}
	}))
	defer srv.Close()
	got, err := read(t, New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", user), describe(blob1))
	if err != nil || !bytes.Equal(got, blob1) || tokens != 2 {
		t.Errorf("%d bytes with %d tokens, %v", len(got), tokens, err)
	}
}
