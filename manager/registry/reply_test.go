package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// FuzzReplies: whatever a registry answers to each question, we end, and believe nothing that does not have its digest.
func FuzzReplies(f *testing.F) {
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`
	f.Add(200, "application/vnd.oci.image.manifest.v1+json", string(digest.FromString(manifest)), `</v2/a/tags/list?last=x>; rel="next"`, manifest)
	f.Add(200, "application/vnd.oci.image.index.v1+json", "sha256:0", "", `{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":-1}]}`)
	f.Add(404, "application/json", "", "", `{"errors":[{"code":"MANIFEST_UNKNOWN","detail":{"x":1}}]}`)
	f.Add(200, "application/json", "", "", `{"tags":["a","../b",""]}`)
	f.Add(401, "text/html", "", "", "<html>")

	var mu sync.Mutex
	var reply func(w http.ResponseWriter)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		reply(w)
	}))
	f.Cleanup(srv.Close)
	f.Fuzz(func(t *testing.T, status int, mediaType, dgst, link, body string) {
		if status < 200 || status > 599 {
			status = 200
		}
		asked := 0
		mu.Lock()
		reply = func(w http.ResponseWriter) {
			asked++
			for key, value := range map[string]string{"Content-Type": mediaType, "Docker-Content-Digest": dgst, "Link": link} {
				w.Header().Set(key, strings.Map(printableOnly, value))
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
		mu.Unlock()
		repo := New(Config{Timeouts: fast, Attempts: 1}).Repository(hostOf(srv.URL), "a", Credentials{})
		want := digest.FromString("wanted")
		if desc, data, err := repo.Manifest(t.Context(), "tag"); err == nil && (digest.FromBytes(data) != desc.Digest && desc.Digest.Algorithm() == digest.SHA256 || desc.Size != int64(len(data))) {
			t.Errorf("manifest %+v of %q", desc, data)
		}
		if _, data, err := repo.Manifest(t.Context(), want.String()); err == nil && digest.FromBytes(data) != want {
			t.Errorf("%q is not %s", data, want)
		}
		if list, err := repo.Referrers(t.Context(), want, ""); err == nil {
			for _, d := range list {
				if d.Digest.Validate() != nil || d.Size < 0 {
					t.Errorf("referrer %+v", d)
				}
			}
		}
		_, _ = repo.Head(t.Context(), "tag")
		_, _ = repo.Tags(t.Context())
		if asked > 4*maxPages {
			t.Errorf("%d questions", asked)
		}
	})
}

func printableOnly(c rune) rune {
	if c < ' ' || c > '~' {
		return -1
	}
	return c
}
