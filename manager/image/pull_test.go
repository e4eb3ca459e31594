package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/registry"
)

// checkTree compares the unpacked layers of an image with the sample's.
func checkTree(t *testing.T, s *Service, d Detail, layers int) {
	t.Helper()
	mounts, err := s.Snapshots.View(t.Context(), "view "+t.Name(), d.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Snapshots.Remove(context.Background(), "view "+t.Name()) }()
	target, err := lowerDirs(mounts[0].Options, mounts[0].Source)
	if err != nil || len(target) != layers {
		t.Fatalf("%d layers in %v: %v", layers, mounts, err)
	}
	if b, err := os.ReadFile(filepath.Join(target[0], "shared/name")); err != nil || string(b) != fmt.Sprint(layers-1) {
		t.Errorf("topmost file: %q %v", b, err)
	}
}

func lowerDirs(options []string, source string) ([]string, error) {
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, "lowerdir="); ok {
			return strings.Split(v, ":"), nil
		}
	}
	return []string{source}, nil
}

func TestPullPushWithDockerRegistry(t *testing.T) {
	addr := startRegistry(t)
	name := addr + "/team/app:1"
	newSample(t, 4, 300_000, 1).push(t, name)

	s := newService(t)
	var said lines
	img, err := s.Pull(t.Context(), ns, name, PullOptions{Progress: said.add})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1: Pulling from team/app", ": Pulling fs layer", ": Downloading", ": Verifying Checksum", ": Download complete",
		": Extracting", ": Pull complete", "Digest: " + img.Target.Digest.String(), "Status: Downloaded newer image for " + name,
	} {
		if !said.has(want) {
			t.Errorf("not said: %q in %q", want, said.list)
		}
	}
	d, err := s.Get(t.Context(), ns, name)
	if err != nil || d.ID != img.Target.Digest || len(d.Layers) != 4 || d.Names[0] != name {
		t.Fatalf("%+v %v", d, err)
	}
	checkTree(t, s, d, 4)
	noLeftovers(t, s)

	said = lines{}
	if _, err := s.Pull(t.Context(), ns, name, PullOptions{Progress: said.add}); err != nil || !said.has("Status: Image is up to date for "+name) {
		t.Errorf("second pull: %v %q", err, said.list)
	}
	// By digest, and under another repository of the registry: mounted, not sent.
	byDigest := addr + "/team/app@" + img.Target.Digest.String()
	if _, err := s.Pull(t.Context(), ns, byDigest, PullOptions{}); err != nil {
		t.Error(err)
	}
	if err := s.Tag(t.Context(), ns, name, addr+"/other/copy:2"); err != nil {
		t.Fatal(err)
	}
	said = lines{}
	if err := s.Push(t.Context(), ns, addr+"/other/copy:2", PushOptions{Progress: said.add}); err != nil || !said.has("Mounted from team/app") {
		t.Errorf("push: %v %q", err, said.list)
	}
	said = lines{}
	err = s.Push(t.Context(), ns, addr+"/other/copy:2", PushOptions{Progress: said.add})
	if err != nil || !said.has("Layer already exists") || !said.has(fmt.Sprintf("2: digest: %s size: %d", d.ID, d.Manifest.Size)) {
		t.Errorf("push again: %v %q", err, said.list)
	}
	tags, err := newService(t).Pull(t.Context(), ns, addr+"/other/copy", PullOptions{AllTags: true})
	if err != nil || !strings.HasSuffix(tags.Name, "/other/copy:2") {
		t.Errorf("all tags: %v %v", tags.Name, err)
	}
}

func TestPullErrors(t *testing.T) {
	addr := startRegistry(t)
	newSample(t, 1, 1000, 2).push(t, addr+"/app:1")
	s := newService(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_ = l.Close()
	for name, want := range map[string]string{
		addr + "/app:2": "manifest for " + addr + "/app:2 not found: manifest unknown: manifest unknown",
		addr + "/app@" + digest.FromString("x").String(): "not found: manifest unknown",
		addr + "/none:1": "not found",
		dead + "/app:1":  "registry " + dead + ": repository app: dial tcp " + dead + ": connect: connection refused",
		"UPPER":          "invalid reference format: repository name (library/UPPER) must be lowercase",
	} {
		_, err := s.Pull(t.Context(), ns, name, PullOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, err := s.Pull(t.Context(), ns, addr+"/app:1", PullOptions{Platform: "linux/s390x"}); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "does not match the specified platform") {
		t.Errorf("platform: %v", err)
	}
	noLeftovers(t, s)
	if list, err := s.List(t.Context(), ns); err != nil || len(list) != 0 {
		t.Errorf("images after failures: %v %v", list, err)
	}
}

// rogue serves a sample, with each blob answered by a handler that may misbehave.
type rogue struct {
	*sample
	blob func(w http.ResponseWriter, r *http.Request, data []byte)
	gets sync.Map // digest -> *atomic.Int64
}

func (g *rogue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, ref, _ := strings.Cut(r.URL.Path, "/manifests/")
	_, blob, _ := strings.Cut(r.URL.Path, "/blobs/")
	switch {
	case ref != "":
		data := g.blobs[g.manifest.Digest]
		w.Header().Set("Content-Type", g.manifest.MediaType)
		w.Header().Set("Docker-Content-Digest", g.manifest.Digest.String())
		_, _ = w.Write(data)
	case blob != "":
		data, ok := g.blobs[digest.Digest(blob)]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		n, _ := g.gets.LoadOrStore(blob, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
		if digest.Digest(blob) == g.config.Digest || g.blob == nil {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			return
		}
		g.blob(w, r, data)
	}
}

func (g *rogue) start(t *testing.T) string {
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func hijackAfter(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data[:n])
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// TestRogueRegistry is fault F29 and attack I20: resumed or refused, and nothing half-made stays.
func TestRogueRegistry(t *testing.T) {
	var once sync.Map
	first := func(r *http.Request) bool { _, seen := once.LoadOrStore(r.URL.Path+t.Name(), true); return !seen }
	cases := map[string]struct {
		fails string
		blob  func(w http.ResponseWriter, r *http.Request, data []byte)
	}{
		"reset in the middle then range": {"", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if first(r) {
				hijackAfter(w, data, len(data)/2)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}},
		"reset at the last byte then whole": {"", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("Range") == "" {
				hijackAfter(w, data, len(data)-1)
				return
			}
			_, _ = w.Write(data) // ignores the range
		}},
		"always reset": {"broke off at byte", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", len(data)/2, len(data)-1, len(data)))
				w.WriteHeader(http.StatusPartialContent)
				hijackAfter(w, data[len(data)/2:], 0)
				return
			}
			hijackAfter(w, data, len(data)/2)
		}},
		"wrong range": {"asked from byte", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if r.Header.Get("Range") == "" {
				hijackAfter(w, data, len(data)/2)
				return
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(data)-1, len(data)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(data)
		}},
		"wrong length": {"the registry has", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)+1))
			_, _ = w.Write(append(bytes.Clone(data), 'x'))
		}},
		"truncated": {"broke off at byte", func(w http.ResponseWriter, _ *http.Request, data []byte) { _, _ = w.Write(data[:len(data)/2]) }},
		"extra bytes": {"more bytes came", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			_, _ = w.Write(append(bytes.Clone(data), "more"...))
		}},
		"extra bytes without a length": {"more bytes came", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			_, _ = w.Write(data[:1])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(append(bytes.Clone(data[1:]), "more"...))
		}},
		"wrong digest": {"filesystem layer verification failed", func(w http.ResponseWriter, _ *http.Request, data []byte) {
			bad := bytes.Clone(data)
			bad[len(bad)-1] ^= 1
			_, _ = w.Write(bad)
		}},
		"503 then fine": {"", func(w http.ResponseWriter, r *http.Request, data []byte) {
			if first(r) {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
		}},
		"always 500": {"internal server error (HTTP 500)", func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusInternalServerError) }},
		"429 for an hour": {"too many requests (HTTP 429)", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}},
		"blob unknown": {"blob unknown (HTTP 404)", func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNotFound) }},
		"redirect loop": {"redirected more than", func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}},
		"401 loop": {"pull access denied for", func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			g := &rogue{sample: newSample(t, 2, 200_000, 3), blob: c.blob}
			addr, s := g.start(t), newService(t)
			img, err := s.Pull(t.Context(), ns, addr+"/app:1", PullOptions{})
			switch {
			case c.fails == "" && err != nil:
				t.Fatal(err)
			case c.fails == "":
				d, err := s.Get(t.Context(), ns, img.Name)
				if err != nil {
					t.Fatal(err)
				}
				checkTree(t, s, d, 2)
			case err == nil || !strings.Contains(err.Error(), c.fails):
				t.Errorf("got %v, want %q", err, c.fails)
			case !strings.Contains(err.Error(), addr) && !strings.Contains(err.Error(), "verification"):
				t.Errorf("%v does not name the host", err)
			}
			if err != nil { // the other layer's download was interrupted, and is kept
				s.dropUnfinished(t.Context())
			}
			noLeftovers(t, s)
		})
	}
}

// TestWrongDiffID is attack I11: blobs are right, but the config names other contents.
func TestWrongDiffID(t *testing.T) {
	a, b := newSample(t, 1, 1000, 4), newSample(t, 1, 1000, 5)
	g := &rogue{sample: newSample(t, 1, 1000, 6)}
	for d, data := range a.blobs {
		g.blobs[d] = data
	}
	for d, data := range b.blobs {
		g.blobs[d] = data
	}
	// The config of a with the layer of b.
	m := strings.ReplaceAll(string(a.blobs[a.manifest.Digest]), a.layers[0].Digest.String(), b.layers[0].Digest.String())
	m = strings.ReplaceAll(m, fmt.Sprintf(`"size":%d}]`, a.layers[0].Size), fmt.Sprintf(`"size":%d}]`, b.layers[0].Size))
	g.config = a.config
	g.manifest = g.add(a.manifest.MediaType, []byte(m))
	s := newService(t)
	_, err := s.Pull(t.Context(), ns, g.start(t)+"/app:1", PullOptions{})
	if err == nil || !strings.Contains(err.Error(), "but the image config says") {
		t.Errorf("got %v", err)
	}
	noLeftovers(t, s)
	if err := s.Snapshots.Remove(context.Background(), b.chain(t)); !errdefs.IsNotFound(err) {
		t.Errorf("a snapshot stayed: %v", err)
	}
}

func (s *sample) chain(t *testing.T) string {
	t.Helper()
	doc, _, err := readDocument(t.Context(), inMemory(s.blobs), s.manifest, hostPlatform())
	if err != nil {
		t.Fatal(err)
	}
	return doc.chain()
}

func TestTwentyPullsFetchOnce(t *testing.T) {
	g := &rogue{sample: newSample(t, 3, 500_000, 7)}
	addr, s := g.start(t), newService(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), ns, fmt.Sprintf("%s/app:%d", addr, i), PullOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, l := range append(g.layers, g.sample.config) {
		if n, ok := g.gets.Load(l.Digest.String()); !ok || n.(*atomic.Int64).Load() != 1 {
			t.Errorf("blob %s was fetched %v times", l.Digest, n)
		}
	}
	noLeftovers(t, s)
}

// TestBlobsComeSideBySide: as many at once as the daemon allows, and never more.
func TestBlobsComeSideBySide(t *testing.T) {
	s := newService(t)
	var mu sync.Mutex
	now, most, together := 0, 0, make(chan struct{})
	count := func(by int) {
		mu.Lock()
		defer mu.Unlock()
		now += by
		if most = max(most, now); most == s.Downloads && by > 0 {
			select {
			case <-together:
			default:
				close(together)
			}
		}
	}
	g := &rogue{sample: newSample(t, 7, 20_000, 9), blob: func(w http.ResponseWriter, r *http.Request, data []byte) {
		count(1)
		defer count(-1)
		select {
		case <-together: // each of the first waits for the others
		case <-time.After(20 * time.Second):
			t.Error("blobs come one after the other")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}}
	if _, err := s.Pull(t.Context(), ns, g.start(t)+"/app:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if most != s.Downloads || most < 2 {
		t.Errorf("%d blobs at once where %d are allowed", most, s.Downloads)
	}
}

// TestCancelledPullGoesOn: the second pull fetches the missing halves only, and what a prune takes is fetched again.
func TestCancelledPullGoesOn(t *testing.T) {
	for _, pruned := range []bool{false, true} {
		const half = 250_000
		var ready sync.WaitGroup
		ready.Add(2)
		var sent atomic.Int64
		g := &rogue{sample: newSample(t, 2, 2*half, 8)}
		whole := g.layers[0].Size + g.layers[1].Size
		g.blob = func(w http.ResponseWriter, r *http.Request, data []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:half])
			_ = http.NewResponseController(w).Flush()
			ready.Done()
			<-r.Context().Done()
		}
		addr, s := g.start(t), newService(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			ready.Wait()
			for ingested(t, s) < 2*half {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if _, err := s.Pull(ctx, ns, addr+"/app:1", PullOptions{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		want := whole - 2*half
		if pruned {
			want = whole
			if _, _, err := s.Prune(t.Context(), ns, PruneOptions{}); err != nil {
				t.Fatal(err)
			}
			noLeftovers(t, s)
		}
		g.blob = func(w http.ResponseWriter, r *http.Request, data []byte) {
			http.ServeContent(&countingWriter{w, &sent}, r, "", time.Time{}, bytes.NewReader(data))
		}
		img, err := s.Pull(t.Context(), ns, addr+"/app:1", PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if sent.Load() != want {
			t.Errorf("pruned %v: %d bytes were sent for the rest, want %d", pruned, sent.Load(), want)
		}
		if d, err := s.Get(t.Context(), ns, img.Name); err != nil {
			t.Error(err)
		} else {
			checkTree(t, s, d, 2)
		}
		noLeftovers(t, s)
	}
}

// ingested is the size of all unfinished downloads.
func ingested(t *testing.T, s *Service) int64 {
	files, err := filepath.Glob(filepath.Join(s.Content.Root(), "ingest", "*"))
	if err != nil {
		t.Error(err)
	}
	n := int64(0)
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			n += st.Size()
		}
	}
	return n
}

// countingWriter counts the bytes of bodies.
type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// TestPullFormats: plain, gzip and zstd layers, zstd:chunked and eStargz read as plain ones, in Docker's and OCI's words.
func TestPullFormats(t *testing.T) {
	zip := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return out.Bytes()
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zst := func(b []byte) []byte { return encoder.EncodeAll(b, nil) }
	half := func(f func([]byte) []byte) func([]byte) []byte { // two members or frames, as the lazy formats have them
		return func(b []byte) []byte { return append(f(b[:1000]), f(b[1000:])...) }
	}
	same := func(b []byte) []byte { return b }
	skippable := func(b []byte) []byte { // zstd:chunked keeps its table of contents in a frame that others skip
		return append(half(zst)(b), 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4)
	}
	oci := ocispec.MediaTypeImageLayer
	docker := "application/vnd.docker.image.rootfs.diff.tar"
	g := &rogue{sample: &sample{blobs: map[digest.Digest][]byte{}}}
	img := ocispec.Image{Platform: hostPlatform(), RootFS: ocispec.RootFS{Type: "layers"}}
	for i, form := range []struct {
		mediaType string
		pack      func([]byte) []byte
	}{
		{oci, same}, {oci + "+gzip", zip}, {oci + "+zstd", zst}, {oci + "+zstd", skippable}, {oci + "+gzip", half(zip)},
		{docker, same}, {docker + ".gzip", zip}, {docker + ".zstd", zst},
	} {
		plain := tarOf(t, map[string]string{fmt.Sprintf("layer%d/data", i): strings.Repeat("x", 4000), "shared/name": fmt.Sprint(i)})
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.FromBytes(plain))
		g.layers = append(g.layers, g.add(form.mediaType, form.pack(plain)))
	}
	for _, kind := range []string{ocispec.MediaTypeImageManifest, registry.MediaTypeDockerManifest} {
		configType := ocispec.MediaTypeImageConfig
		if kind == registry.MediaTypeDockerManifest {
			configType = registry.MediaTypeDockerConfig
		}
		g.config = g.add(configType, mustJSON(t, img))
		g.manifest = g.add(kind, mustJSON(t, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: kind, Config: g.config, Layers: g.layers,
		}))
		s := newService(t)
		made, err := s.Pull(t.Context(), ns, g.start(t)+"/app:1", PullOptions{})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		d, err := s.Get(t.Context(), ns, made.Name)
		if err != nil {
			t.Fatal(err)
		}
		checkTree(t, s, d, len(g.layers))
		noLeftovers(t, s)
	}
	for kind, want := range map[string]string{
		registry.MediaTypeDockerForeign:                                "a foreign layer is fetched from an address in the manifest",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "a foreign layer is fetched from an address in the manifest",
		"application/vnd.oci.image.layer.v2.tar":                       "is not supported",
	} {
		layers := slices.Clone(g.layers)
		layers[1].MediaType, layers[1].URLs = kind, []string{"http://169.254.169.254/"}
		g.manifest = g.add(ocispec.MediaTypeImageManifest, mustJSON(t, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: g.config, Layers: layers,
		}))
		if _, err := newService(t).Pull(t.Context(), ns, g.start(t)+"/app:1", PullOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
