package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/registry"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/native"
	"github.com/conex-containers/conex/manager/snapshot/overlay"
)

const ns = "moby"

// newService opens everything that a Service needs below a new directory.
func newService(t testing.TB) *Service {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: snapshots")
	}
	return openService(t, t.TempDir())
}

func openService(t testing.TB, root string) *Service {
	t.Helper()
	s, end := assemble(t, root)
	t.Cleanup(end)
	return s
}

// assemble is openService for callers that close by themselves.
func assemble(t testing.TB, root string) (*Service, func()) {
	t.Helper()
	db, err := metadata.Open(filepath.Join(root, "conex.db"), metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	run, err := metadata.Open(filepath.Join(root, "run.db"), metadata.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	store, err := content.Open(filepath.Join(root, "content"), db)
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := snapshot.Open(filepath.Join(root, "snapshot"), db, run, overlay.New(), native.New())
	if err != nil {
		t.Fatal(err)
	}
	end := func() {
		for _, c := range []interface{ Close() error }{snapshots, store, db, run} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	service := New(Parts{
		Content: store, Snapshots: snapshots, DB: db, Leases: lease.New(run),
		Registry: registry.New(registry.Config{Timeouts: registry.Timeouts{Backoff: time.Millisecond}}),
	})
	return service, end
}

// startRegistry runs Debian's docker-registry on a free port of the loopback and returns its address.
func startRegistry(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage:\n  filesystem: {rootdirectory: %s/data}\n  delete: {enabled: true}\nhttp: {addr: %s}\n", dir, addr)
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	impatient := http.Client{Timeout: 5 * time.Second}
	for range 200 {
		resp, err := impatient.Get("http://" + addr + "/v2/")
		if err == nil {
			_ = resp.Body.Close()
			return addr
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return ""
}

// sample is an image made for a test: its blobs by digest.
type sample struct {
	blobs    map[digest.Digest][]byte
	manifest ocispec.Descriptor
	config   ocispec.Descriptor
	layers   []ocispec.Descriptor
}

// newSample makes an image of n layers, each with one file of size random bytes and a few links.
func newSample(t testing.TB, n, size int, seed uint64) *sample {
	t.Helper()
	s := &sample{blobs: map[digest.Digest][]byte{}}
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	created := time.Unix(1_700_000_000, 0).UTC()
	img := ocispec.Image{
		Created: &created, Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config: ocispec.ImageConfig{Cmd: []string{"/bin/true"}, Labels: map[string]string{"seed": fmt.Sprint(seed)}},
		RootFS: ocispec.RootFS{Type: "layers"},
	}
	for i := range n {
		body := make([]byte, size)
		_, _ = rnd.Read(body)
		plain := tarOf(t, map[string]string{fmt.Sprintf("layer%d/data", i): string(body), "shared/name": fmt.Sprint(i)})
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.FromBytes(plain))
		var gz bytes.Buffer
		w := gzip.NewWriter(&gz)
		_, _ = w.Write(plain)
		_ = w.Close()
		s.layers = append(s.layers, s.add(ocispec.MediaTypeImageLayerGzip, gz.Bytes()))
	}
	s.config = s.add(ocispec.MediaTypeImageConfig, mustJSON(t, img))
	s.manifest = s.add(ocispec.MediaTypeImageManifest, mustJSON(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: s.config, Layers: s.layers,
	}))
	return s
}

func (s *sample) add(mediaType string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	s.blobs[d.Digest] = data
	return d
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	for _, name := range sorted(names) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sorted(s []string) []string {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s
}

// layout writes the sample as a tar that is an OCI layout.
func (s *sample) layout(t testing.TB, name string) []byte {
	files := map[string]string{ocispec.ImageLayoutFile: `{"imageLayoutVersion":"1.0.0"}`}
	for d, data := range s.blobs {
		files[blobName(d)] = string(data)
	}
	target := s.manifest
	target.Annotations = map[string]string{annotationName: name}
	files[ocispec.ImageIndexFile] = string(mustJSON(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{target}}))
	return tarOf(t, files)
}

// push uploads the sample to a registry, through a Service of its own.
func (s *sample) push(t testing.TB, name string) {
	t.Helper()
	from := newService(t)
	ref, err := ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.Load(t.Context(), ns, bytes.NewReader(s.layout(t, ref.String())), LoadOptions{Quiet: true}); err != nil {
		t.Fatal(err)
	}
	if err := from.Push(t.Context(), ns, name, PushOptions{}); err != nil {
		t.Fatal(err)
	}
}

// lines collects progress as "ID: STATUS" without the moving bars.
type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) add(p Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Total > 0 && p.Current < p.Total {
		return
	}
	s := p.Status
	if p.ID != "" {
		s = p.ID + ": " + s
	}
	l.list = append(l.list, s)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.list {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// leftovers lists what an operation that failed must not leave: ingests, active snapshots, leases.
func leftovers(t testing.TB, s *Service) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir(filepath.Join(s.Content.Root(), "ingest"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, "ingest "+e.Name())
	}
	err = s.Snapshots.Walk(context.Background(), func(i snapshot.Info) error {
		if i.Kind != snapshot.Committed {
			found = append(found, "snapshot "+i.Key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	leases, err := s.Leases.All(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		found = append(found, "lease "+l.ID)
	}
	return found
}

func noLeftovers(t testing.TB, s *Service) {
	t.Helper()
	if err := s.Content.Sync(context.Background()); err != nil {
		t.Error(err)
	}
	if found := leftovers(t, s); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}
