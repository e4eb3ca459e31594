package security

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/test/rig"
)

// Media types of the documents that the attacks are made of.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// stall is a registry in the test's own process: it hands out exactly the bytes that it was told to, however wrong they
// are, and remembers who asked for what.
type stall struct {
	addr string

	mu    sync.Mutex
	pages map[string]http.HandlerFunc // by path below /v2/
	asked []*http.Request
}

func newStall(t *testing.T) *stall {
	t.Helper()
	s := &stall{pages: map[string]http.HandlerFunc{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.addr = strings.TrimPrefix(srv.URL, "http://")
	return s
}

func (s *stall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	s.mu.Lock()
	s.asked = append(s.asked, r)
	page := s.pages[path]
	s.mu.Unlock()
	switch {
	case page != nil:
		page(w, r)
	case path != "":
		http.NotFound(w, r)
	}
}

// page serves a path below /v2/ by a function.
func (s *stall) page(path string, f http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[path] = f
}

// requests returns the requests whose path begins with prefix.
func (s *stall) requests(prefix string) []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.asked), func(r *http.Request) bool { return !strings.HasPrefix(r.URL.Path, prefix) })
}

// blob serves bytes under their digest in the repository x.
func (s *stall) blob(data []byte) map[string]any {
	s.page("x/blobs/"+rig.Digest(data), func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	return map[string]any{"digest": rig.Digest(data), "size": len(data)}
}

// document serves a manifest or index under its digest and as x:tag, whose reference it returns.
func (s *stall) document(tag, mediaType string, data []byte) string {
	for _, ref := range []string{tag, rig.Digest(data)} {
		s.page("x/manifests/"+ref, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Docker-Content-Digest", rig.Digest(data))
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			if r.Method != http.MethodHead {
				_, _ = w.Write(data)
			}
		})
	}
	return s.addr + "/x:" + tag
}

// goods is an image before its documents are written: each part may be bent.
type goods struct {
	layers [][]byte // as they are sent
	diffs  []string // of the layers; nil: they are sent uncompressed
	config map[string]any
	bend   func(config, manifest map[string]any) // the documents, before they are written
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// offer serves an image as x:tag and returns its reference. The manifest is bent after the config was written.
func (s *stall) offer(t *testing.T, tag string, g goods) string {
	t.Helper()
	manifest := s.manifest(t, g)
	return s.document(tag, typeManifest, encode(t, manifest))
}

func (s *stall) manifest(t *testing.T, g goods) map[string]any {
	t.Helper()
	diffs, layers := append([]string{}, g.diffs...), []map[string]any{}
	for _, l := range g.layers {
		if g.diffs == nil {
			diffs = append(diffs, rig.Digest(l))
		}
		d := s.blob(l)
		d["mediaType"] = typeLayer
		layers = append(layers, d)
	}
	config := map[string]any{
		"architecture": "amd64", "os": "linux", "config": g.config, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "layers": layers}
	if g.bend != nil {
		g.bend(config, manifest)
	}
	if manifest["config"] == nil {
		d := s.blob(encode(t, config))
		d["mediaType"] = typeConfig
		manifest["config"] = d
	}
	return manifest
}

// busybox is the layer that containers run.
var busybox = sync.OnceValue(func() *rig.Image { return new(rig.Image) })

// base returns busybox' layer, uncompressed.
func base(t *testing.T) []byte {
	t.Helper()
	im := busybox()
	if im.Layers == nil {
		*im = *rig.Busybox(t)
	}
	return im.Layer(t)
}

// item is an entry of a hostile archive: a header, and the body of a regular file.
type item struct {
	tar.Header
	body string
}

func file(name, body string) item {
	return item{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body}
}
func dir(name string) item {
	return item{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}
func symlink(name, to string) item {
	return item{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, ""}
}
func hardlink(name, to string) item {
	return item{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644}, ""}
}

// archive writes entries as a tar.
func archive(t *testing.T, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		if i.Typeflag == tar.TypeReg {
			i.Size = int64(len(i.body))
		}
		if err := w.WriteHeader(&i.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// footprint lists what the engine keeps of images: blobs, unfinished downloads, snapshots.
func footprint(e *rig.Engine) []string {
	var all []string
	for _, pattern := range []string{"content/blobs/*/*", "content/ingest/*", "snapshot/*/*"} {
		found, _ := filepath.Glob(filepath.Join(e.DataRoot, pattern))
		all = append(all, found...)
	}
	found, _ := filepath.Glob(filepath.Join(e.DataRoot, "snapshot/*/trash/*"))
	return append(all, found...)
}

// back demands that what the engine keeps is what it was before.
func back(t *testing.T, e *rig.Engine, before []string) {
	t.Helper()
	var now []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if now = footprint(e); slices.Equal(now, before) {
			return
		}
	}
	t.Errorf("left behind: %v", slices.DeleteFunc(now, func(f string) bool { return slices.Contains(before, f) }))
}

// refused demands that a reference cannot be pulled, that the engine says why, and that nothing of it stays.
func refused(t *testing.T, e *rig.Engine, ref, why string) {
	t.Helper()
	before := footprint(e)
	r := e.Docker("pull", ref)
	if r.Code == 0 {
		t.Errorf("%s was taken", ref)
		e.Docker("rmi", "-f", ref)
	} else if !strings.Contains(r.Err, why) {
		t.Errorf("%s: does not say %q: %s", ref, why, r.Err)
	}
	e.Docker("image", "prune", "-f").OK() // whole layers are kept for another try until then
	back(t, e, before)
}

// peak runs fn and returns how many bytes of memory the daemon had at most meanwhile.
func peak(t *testing.T, e *rig.Engine, fn func()) int64 {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", e.Pid())
	if err := os.WriteFile(proc+"clear_refs", []byte("5"), 0o600); err != nil { // proc_pid_clear_refs(5): VmHWM begins anew
		t.Fatal(err)
	}
	fn()
	b, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		t.Fatalf("VmHWM: %v", err)
	}
	return kib << 10
}
