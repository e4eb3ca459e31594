package rig

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Image is an OCI image in memory: what it takes to push it or to write it as an archive.
type Image struct {
	Layers [][]byte // gzip
	Diffs  []string // sha256 of each layer uncompressed
	Config map[string]any
}

// Digest names bytes as a registry does.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// tree collects the entries of one layer.
type tree struct {
	t    testing.TB
	buf  bytes.Buffer
	tw   *tar.Writer
	have map[string]bool
}

func newTree(t testing.TB) *tree {
	tr := &tree{t: t, have: map[string]bool{}}
	tr.tw = tar.NewWriter(&tr.buf)
	return tr
}

func (tr *tree) entry(h *tar.Header, body []byte) {
	tr.t.Helper()
	name := strings.Trim(h.Name, "/")
	if tr.have[name] {
		return
	}
	if dir := filepath.Dir(name); dir != "." && !tr.have[dir] {
		tr.dir(dir, 0o755)
	}
	tr.have[name] = true
	h.Name, h.Size, h.ModTime = name, int64(len(body)), time.Unix(1700000000, 0)
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if err := tr.tw.WriteHeader(h); err != nil {
		tr.t.Fatal(err)
	}
	if _, err := tr.tw.Write(body); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *tree) dir(name string, mode int64) {
	tr.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, nil)
}

func (tr *tree) file(name string, mode int64, body []byte) {
	tr.entry(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, body)
}

func (tr *tree) link(name, to string) {
	tr.entry(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

// copy takes a file of the machine into the layer under its own path, symbolic links resolved.
func (tr *tree) copy(path string) {
	tr.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tr.t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.file(path, int64(st.Mode().Perm()), b)
}

// program takes an executable and the shared libraries that ldd names.
func (tr *tree) program(path string) {
	tr.t.Helper()
	tr.copy(path)
	r := Exec(tr.t, nil, nil, "ldd", path)
	if r.Code != 0 {
		return // static
	}
	for _, f := range strings.Fields(r.Out) {
		if strings.HasPrefix(f, "/") {
			tr.copy(f)
		}
	}
}

// image closes the tree and returns the image of it with the given config.
func (tr *tree) image(config map[string]any) *Image {
	tr.t.Helper()
	if err := tr.tw.Close(); err != nil {
		tr.t.Fatal(err)
	}
	im := &Image{Config: config}
	im.AddLayer(tr.t, tr.buf.Bytes())
	return im
}

// AddLayer puts an uncompressed layer tar on top of the image.
func (im *Image) AddLayer(t testing.TB, layer []byte) {
	t.Helper()
	im.Diffs = append(im.Diffs, Digest(layer))
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	if _, err := w.Write(layer); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	im.Layers = append(im.Layers, z.Bytes())
}

// AddFile puts a layer with one file on top of the image.
func (im *Image) AddFile(t testing.TB, name string, body []byte) {
	t.Helper()
	tr := newTree(t)
	tr.file(name, 0o644, body)
	if err := tr.tw.Close(); err != nil {
		t.Fatal(err)
	}
	im.AddLayer(t, tr.buf.Bytes())
}

// Clone returns a copy whose config and layers can be changed.
func (im *Image) Clone() *Image {
	c := &Image{Layers: append([][]byte(nil), im.Layers...), Diffs: append([]string(nil), im.Diffs...), Config: map[string]any{}}
	for k, v := range im.Config {
		c.Config[k] = v
	}
	return c
}

// blobs returns the config and the manifest as they are stored.
func (im *Image) blobs() (config, manifest []byte) {
	config, _ = json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", "config": im.Config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": im.Diffs},
	})
	var layers []map[string]any
	for _, l := range im.Layers {
		layers = append(layers, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest(l), "size": len(l)})
	}
	manifest, _ = json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest(config), "size": len(config)},
	})
	return config, manifest
}

// Archive writes the image as a docker archive (what `docker save` of any version writes and `docker load` reads).
func (im *Image) Archive(t testing.TB, w io.Writer, tag string) {
	t.Helper()
	config, _ := im.blobs()
	tr := &tree{t: t, have: map[string]bool{}, tw: tar.NewWriter(w)}
	var names []string
	for i, l := range im.Layers {
		zr, err := gzip.NewReader(bytes.NewReader(l))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(im.Diffs[i], "sha256:")+".tar")
		tr.file(names[i], 0o644, b)
	}
	name := strings.TrimPrefix(Digest(config), "sha256:") + ".json"
	tr.file(name, 0o644, config)
	manifest, _ := json.Marshal([]map[string]any{{"Config": name, "RepoTags": []string{tag}, "Layers": names}})
	tr.file("manifest.json", 0o644, manifest)
	if err := tr.tw.Close(); err != nil {
		t.Fatal(err)
	}
}

// Layer returns the first layer as an uncompressed tar.
func (im *Image) Layer(t testing.TB) []byte {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(im.Layers[0]))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ArchiveBytes is Archive in memory.
func (im *Image) ArchiveBytes(t testing.TB, tag string) []byte {
	t.Helper()
	var b bytes.Buffer
	im.Archive(t, &b, tag)
	return b.Bytes()
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n"
	group  = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nalice:x:1000:\nstaff:x:50:alice\n"
)

func (tr *tree) etc() {
	tr.file("/etc/passwd", 0o644, []byte(passwd))
	tr.file("/etc/group", 0o644, []byte(group))
	for _, d := range []string{"/proc", "/sys", "/dev", "/root", "/run", "/var", "/home/alice", "/usr/bin"} {
		tr.dir(d, 0o755)
	}
	tr.dir("/tmp", 0o1777)
}

// Probe builds the test images' own program.
func Probe(t testing.TB) []byte {
	t.Helper()
	return ProbeFor(t, runtime.GOARCH)
}

// ProbeFor is Probe for another architecture that the machine executes.
func ProbeFor(t testing.TB, arch string) []byte {
	t.Helper()
	path := t.TempDir() + "/probe"
	Exec(t, []string{"CGO_ENABLED=0", "GOARCH=" + arch}, nil, "go", "build", "-trimpath", "-o", path, "github.com/conex-containers/conex/test/rig/probe").OK()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Busybox is an image of Debian's busybox-static, and the probe.
func Busybox(t testing.TB) *Image {
	t.Helper()
	tr := newTree(t)
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: apt-get install busybox-static", err)
	}
	tr.file("/bin/busybox", 0o755, b)
	for _, name := range strings.Fields(Exec(t, nil, nil, "/bin/busybox", "--list").OK().Out) {
		if name != "busybox" {
			tr.link("/bin/"+name, "busybox")
		}
	}
	tr.file("/bin/probe", 0o755, Probe(t))
	tr.etc()
	return tr.image(map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}})
}

// Nginx is an image of Debian's nginx.
func Nginx(t testing.TB) *Image {
	t.Helper()
	tr := newTree(t)
	tr.program("/usr/sbin/nginx")
	for _, lib := range []string{"/lib/x86_64-linux-gnu/libnss_files.so.2"} {
		if _, err := os.Stat(lib); err == nil {
			tr.copy(lib)
		}
	}
	tr.copy("/etc/nginx/mime.types")
	tr.file("/etc/nginx/nginx.conf", 0o644, []byte(`user www-data;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
  include mime.types;
  access_log /dev/stdout;
  server { listen 80; root /usr/share/nginx/html; sendfile off; }
}
`))
	tr.file("/usr/share/nginx/html/index.html", 0o644, []byte("welcome\n"))
	for _, d := range []string{"/var/lib/nginx", "/var/log/nginx"} {
		tr.dir(d, 0o755)
	}
	tr.etc()
	return tr.image(map[string]any{
		"Cmd": []string{"/usr/sbin/nginx", "-g", "daemon off;"}, "ExposedPorts": map[string]any{"80/tcp": map[string]any{}}, "StopSignal": "SIGQUIT",
		"Env": []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
	})
}
