package rig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Registry is Debian's docker-registry on loopback, in the test's network namespace.
type Registry struct {
	Addr string // 127.0.0.1:port
	dir  string
	cmd  *exec.Cmd
}

var shared struct {
	sync.Mutex
	registry *Registry
}

// SharedRegistry starts the package's registry once and pushes busybox:latest, hello-world:latest and nginx:1.25.
func SharedRegistry(t testing.TB) *Registry {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.registry != nil {
		return shared.registry
	}
	r := NewRegistry(t)
	defer func() {
		if shared.registry == nil { // a push has failed
			r.Stop()
		}
	}()
	busybox := Busybox(t)
	hello := busybox.Clone()
	hello.Config["Cmd"] = []string{"echo", "Hello from the registry!"}
	r.Push(t, "busybox", "latest", busybox)
	r.Push(t, "hello-world", "latest", hello)
	r.Push(t, "nginx", "1.25", Nginx(t))
	shared.registry = r
	return r
}

func stopShared() {
	if shared.registry != nil {
		shared.registry.Stop()
	}
}

// NewRegistry starts a registry with an empty store.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "conex-test-registry-")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s/store}\n  delete: {enabled: true}\nhttp: {addr: %s}\n", dir, addr)
	if err := os.WriteFile(dir+"/config.yml", []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &Registry{Addr: addr, dir: dir, cmd: exec.Command("docker-registry", "serve", dir+"/config.yml")}
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install docker-registry", err)
	}
	Eventually(t, 10*time.Second, "the registry answers", func() bool {
		resp, err := HTTP.Get("http://" + addr + "/v2/")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return r
}

// Stop ends the registry and removes its store.
func (r *Registry) Stop() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
	_ = os.RemoveAll(r.dir)
}

// PushIndex tags an image for this platform, and one that is a lie for another, under one name.
func (r *Registry) PushIndex(t testing.TB, name, tag, otherArchitecture string, im *Image) {
	t.Helper()
	r.Push(t, name, tag+"-this", im)
	_, manifest := im.blobs()
	other := []byte(`{"architecture":"` + otherArchitecture + `","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`)
	r.pushBlob(t, name, other)
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	lie := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, mediaType, Digest(other), len(other))
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag+"-other", mediaType, lie, http.StatusCreated)
	const index = "application/vnd.oci.image.index.v1+json"
	entry := `{"mediaType":%q,"digest":%q,"size":%d,"platform":{"architecture":%q,"os":"linux"}}`
	b := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[`+entry+`,`+entry+`]}`, index,
		mediaType, Digest(lie), len(lie), otherArchitecture, mediaType, Digest(manifest), len(manifest), "amd64")
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, index, b, http.StatusCreated)
}

// Artifact uploads a manifest of one small blob, under a tag or with "" under its digest, which it returns; with a
// subject, a manifest of subjectSize bytes, it says that it belongs to that.
func (r *Registry) Artifact(t testing.TB, name, tag, blobType, content, subject string, subjectSize int) string {
	t.Helper()
	config := []byte("{}")
	r.pushBlob(t, name, config)
	r.pushBlob(t, name, []byte(content))
	doc := map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest(config), "size": len(config)},
		"layers": []any{map[string]any{"mediaType": blobType, "digest": Digest([]byte(content)), "size": len(content)}},
	}
	if subject != "" {
		doc["subject"] = map[string]any{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": subjectSize}
	}
	manifest, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if tag == "" {
		tag = Digest(manifest)
	}
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", manifest, http.StatusCreated)
	return Digest(manifest)
}

// Index uploads an index of one manifest that is there already.
func (r *Registry) Index(t testing.TB, name, tag, manifest string) {
	t.Helper()
	const mediaType = "application/vnd.oci.image.index.v1+json"
	req, err := http.NewRequest(http.MethodHead, "http://"+r.Addr+"/v2/"+name+"/manifests/"+manifest, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := HTTP.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(manifest, err, resp)
	}
	_ = resp.Body.Close()
	b := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`, mediaType, manifest, resp.ContentLength)
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, mediaType, b, http.StatusCreated)
}

// Manifest uploads a document as a manifest.
func (r *Registry) Manifest(t testing.TB, name, tag, mediaType, text string) {
	t.Helper()
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, mediaType, []byte(text), http.StatusCreated)
}

// Ref names a repository of the registry: "127.0.0.1:port/name".
func (r *Registry) Ref(name string) string { return r.Addr + "/" + name }

// Push uploads an image by the registry's own API.
func (r *Registry) Push(t testing.TB, name, tag string, im *Image) {
	t.Helper()
	config, manifest := im.blobs()
	for _, b := range append([][]byte{config}, im.Layers...) {
		r.pushBlob(t, name, b)
	}
	r.do(t, http.MethodPut, "/v2/"+name+"/manifests/"+tag, "application/vnd.oci.image.manifest.v1+json", manifest, http.StatusCreated)
}

func (r *Registry) pushBlob(t testing.TB, name string, b []byte) {
	t.Helper()
	resp := r.do(t, http.MethodPost, "/v2/"+name+"/blobs/uploads/", "", nil, http.StatusAccepted)
	loc := strings.TrimPrefix(resp.Header.Get("Location"), "http://"+r.Addr)
	sep := "?"
	if strings.Contains(loc, "?") {
		sep = "&"
	}
	r.do(t, http.MethodPut, loc+sep+"digest="+Digest(b), "application/octet-stream", b, http.StatusCreated)
}

func (r *Registry) do(t testing.TB, method, path, contentType string, body []byte, want int) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+r.Addr+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
		t.Fatalf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	return resp
}

// Missing says what of an image the registry lacks, "" when it has all of it, each blob in its size.
func (r *Registry) Missing(t testing.TB, name, tag string) string {
	t.Helper()
	get := func(method, path string) (int, int64, []byte) {
		req, err := http.NewRequest(method, "http://"+r.Addr+"/v2/"+name+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
		resp, err := HTTP.Do(req)
		if err != nil {
			return 0, 0, []byte(err.Error())
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.ContentLength, b
	}
	code, _, raw := get(http.MethodGet, "/manifests/"+tag)
	type descriptor struct {
		Digest string
		Size   int64
	}
	var m struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal(raw, &m); code != http.StatusOK || err != nil || len(m.Layers) == 0 {
		return fmt.Sprintf("manifest %s:%s: %d %s", name, tag, code, raw)
	}
	for _, d := range append(m.Layers, m.Config) {
		if code, size, _ := get(http.MethodHead, "/blobs/"+d.Digest); code != http.StatusOK || size != d.Size {
			return fmt.Sprintf("blob %s of %s: %d, %d bytes of %d", d.Digest, name, code, size, d.Size)
		}
	}
	return ""
}
