package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// uploads is a registry that takes blobs in any way, up to limit bytes a request, and tells what it has.
type uploads struct {
	limit   int64
	cut     int64 // the first request that is longer is broken off after as many bytes
	amnesia bool  // does not know what it has
	data    []byte
	sent    int64
	patches int
	stored  map[string][]byte
}

func (u *uploads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := http.StatusAccepted
	switch {
	case r.ContentLength > u.limit:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	case r.Method == http.MethodPost:
		u.data = nil
	case r.Method == http.MethodGet && u.amnesia:
		w.WriteHeader(http.StatusNotFound)
		return
	case r.Method == http.MethodGet:
		status = http.StatusNoContent
	default:
		if r.Method == http.MethodPatch {
			u.patches++
			if want := fmt.Sprintf("%d-%d", len(u.data), int64(len(u.data))+r.ContentLength-1); r.Header.Get("Content-Range") != want {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
		}
		body := io.Reader(r.Body)
		broken := u.cut > 0 && r.ContentLength > u.cut
		if broken {
			body, u.cut = io.LimitReader(r.Body, u.cut), 0
		}
		part, _ := io.ReadAll(body)
		u.data, u.sent = append(u.data, part...), u.sent+int64(len(part))
		if broken {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if r.Method == http.MethodPut {
			if got := digest.FromBytes(u.data).String(); got != r.URL.Query().Get("digest") {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			u.stored[r.URL.Query().Get("digest")] = u.data
			status = http.StatusCreated
		}
	}
	w.Header().Set("Location", "/v2/a/blobs/uploads/1?state="+fmt.Sprint(len(u.data)))
	if len(u.data) > 0 {
		w.Header().Set("Range", fmt.Sprintf("0-%d", len(u.data)-1))
	}
	w.WriteHeader(status)
}

func put(t *testing.T, u *uploads, data []byte) error {
	t.Helper()
	u.stored = map[string][]byte{}
	srv := httptest.NewServer(u)
	defer srv.Close()
	r := New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", Credentials{})
	_, err := r.PutBlob(t.Context(), describe(data), nil, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err == nil && !bytes.Equal(u.stored[describe(data).Digest.String()], data) {
		t.Error("another blob was stored")
	}
	return err
}

func TestUploads(t *testing.T) {
	small, big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10), bytes.Repeat([]byte("0123456789abcdef"), 3<<20) // 1 and 48 MiB
	t.Run("one piece", func(t *testing.T) {
		u := &uploads{limit: 1 << 40}
		if err := put(t, u, big); err != nil || u.patches != 0 || u.sent != int64(len(big)) {
			t.Errorf("%v, %d chunks, %d bytes", err, u.patches, u.sent)
		}
	})
	t.Run("a proxy with a limit", func(t *testing.T) {
		u := &uploads{limit: 300 << 10}
		if err := put(t, u, small); err != nil || u.patches != 4 {
			t.Errorf("%v, %d chunks", err, u.patches)
		}
	})
	t.Run("a proxy that takes nothing", func(t *testing.T) {
		var refused *Error
		if err := put(t, &uploads{limit: 1}, small); !errors.As(err, &refused) || refused.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("got %v", err)
		}
	})
	t.Run("broken chunk goes on", func(t *testing.T) {
		u := &uploads{limit: 20 << 20, cut: 5 << 20} // in one piece is refused; of the first chunk 5 MiB come
		if err := put(t, u, big); err != nil || u.sent != int64(len(big)) {
			t.Errorf("%v, %d bytes of %d were taken", err, u.sent, len(big))
		}
	})
	t.Run("broken piece is begun anew in chunks", func(t *testing.T) {
		u := &uploads{limit: 1 << 40, cut: 5 << 20, amnesia: true}
		if err := put(t, u, big); err != nil || u.patches != 3 {
			t.Errorf("%v, %d chunks", err, u.patches)
		}
	})
}

// A real registry behind a proxy that takes 200 KiB a request.
func TestChunksWithDockerRegistry(t *testing.T) {
	addr := dockerRegistry(t)
	target := &url.URL{Scheme: "http", Host: addr}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	patches := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 200<<10 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		if r.Method == http.MethodPatch {
			if patches++; patches == 3 { // breaks off
				r.Body = io.NopCloser(io.LimitReader(r.Body, 50<<10))
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	defer srv.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	r := New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "team/app", Credentials{})
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	if _, err := r.PutBlob(t.Context(), describe(data), nil, open); err != nil || patches < 9 {
		t.Fatalf("%v after %d chunks", err, patches)
	}
	got, err := read(t, New(Config{}).Repository(addr, "team/app", Credentials{}), describe(data))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read back: %v", err)
	}
}

// dockerRegistry starts Debian's docker-registry on the loopback.
func dockerRegistry(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s/data}\nhttp: {addr: %s}\n", dir, addr)
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", filepath.Join(dir, "config.yml"))
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install docker-registry", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

const signature = "application/vnd.example.signature"

func TestReferrersByAPI(t *testing.T) {
	subject := describe(blob1).Digest
	entry := func(kind, text string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1,"artifactType":%q}`, ocispec.MediaTypeImageManifest, digest.FromString(text), kind)
	}
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI())
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		list := entry(signature, "a") + "," + entry("other", "b") + `,{"digest":"sha256:../../x","artifactType":"` + signature + `"}`
		if r.URL.Query().Get("last") == "" {
			w.Header().Set("Link", `<http://elsewhere.invalid/v2/x?last=b>; rel="next"`)
		} else {
			list = entry(signature, "c")
		}
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[%s]}`, list)
	}))
	defer srv.Close()
	list, err := New(Config{Timeouts: fast}).Repository(hostOf(srv.URL), "a", Credentials{}).Referrers(t.Context(), subject, signature)
	if err != nil || len(list) != 2 || list[0].Digest != digest.FromString("a") || list[1].Digest != digest.FromString("c") {
		t.Errorf("%v %v", list, err)
	}
	if len(asked) != 2 || asked[1] != "/v2/a/referrers/"+subject.String()+"?last=b" {
		t.Errorf("asked %q", asked)
	}
}

// Debian's docker-registry has no referrers API: the tag of the subject keeps them.
func TestReferrersByTag(t *testing.T) {
	r := New(Config{Timeouts: fast}).Repository(dockerRegistry(t), "team/app", Credentials{})
	blob := func(data []byte) ocispec.Descriptor {
		_, err := r.PutBlob(t.Context(), describe(data), nil, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		return describe(data)
	}
	manifest := func(kind, subject string) []byte {
		d := blob([]byte("{}"))
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]%s}`,
			ocispec.MediaTypeImageManifest, kind, d.Digest, d.Size, subject)
	}
	image := manifest(ocispec.MediaTypeImageConfig, "")
	if err := r.PutManifest(t.Context(), "1", ocispec.MediaTypeImageManifest, image); err != nil {
		t.Fatal(err)
	}
	subject := digest.FromBytes(image)
	if list, err := r.Referrers(t.Context(), subject, ""); err != nil || len(list) != 0 {
		t.Errorf("before: %v %v", list, err)
	}
	for _, kind := range []string{signature, "application/vnd.example.sbom"} {
		m := manifest(kind, fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":%d}`, ocispec.MediaTypeImageManifest, subject, len(image)))
		for range 2 {
			if err := r.PutManifest(t.Context(), digest.FromBytes(m).String(), ocispec.MediaTypeImageManifest, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	all, err := r.Referrers(t.Context(), subject, "")
	if err != nil || len(all) != 2 {
		t.Errorf("all: %v %v", all, err)
	}
	signatures, err := r.Referrers(t.Context(), subject, signature)
	if err != nil || len(signatures) != 1 || signatures[0].ArtifactType != signature {
		t.Errorf("signatures: %v %v", signatures, err)
	}
	if _, err := r.Referrers(t.Context(), "sha256:../x", ""); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("a path as a digest: %v", err)
	}
	if tag := referrersTag(subject); !strings.HasPrefix(tag, "sha256-") || len(tag) != 71 {
		t.Errorf("tag %q", tag)
	}
}
