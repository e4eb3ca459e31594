package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The image that the rows of images move: 8 layers of this machine's own files (Debian's packages) and of bytes that do
// not compress, 482 MB, 300 MB as gzip, some 30,000 files.
const (
	sampleLayers = 8
	layerBytes   = 60_250_000
	layerNoise   = 22_750_000 // of them incompressible, in files of noiseFile bytes
	noiseFile    = 1_750_000
	entryBytes   = 768 // a file's header, and half a block at its end
	sampleName   = "bench8"
	oneLayer     = 134_217_728 // of the image that is copied: 8 layers of noise, 1 GiB
	copyName     = "gigabyte"
)

// sample is what docker-registry serves: made once, kept in a directory.
type sample struct {
	dir    string // storage of docker-registry
	layers []ocispec.Descriptor
}

// makeSample makes the images in dir, or finds them there.
func makeSample(dir string) (*sample, error) {
	s := &sample{dir: filepath.Join(dir, "registry")}
	note := filepath.Join(dir, "layers.json")
	if data, err := os.ReadFile(note); err == nil {
		return s, json.Unmarshal(data, &s.layers)
	}
	fmt.Fprintf(os.Stderr, "images: making the sample in %s\n", dir)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	roots, err := packageFiles()
	if err != nil {
		return nil, err
	}
	layout := newLayout(filepath.Join(dir, "layout"))
	if s.layers, err = layout.image(sampleName, func(i int, w *tar.Writer) error { return sampleLayer(roots, i, w) }); err != nil {
		return nil, err
	}
	if _, err = layout.image(copyName, func(i int, w *tar.Writer) error { return noise(w, fmt.Sprintf("noise%d", i), uint64(100+i), oneLayer) }); err != nil {
		return nil, err
	}
	r, err := serveRegistry(s.dir, dir)
	if err != nil {
		return nil, err
	}
	defer r.end()
	for _, name := range []string{sampleName, copyName} {
		out, err := exec.Command("skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "oci:"+layout.dir+":"+name, "docker://"+r.addr+"/"+name+":1").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("skopeo: %w: %s", err, out)
		}
	}
	data, err := json.Marshal(s.layers)
	if err != nil {
		return nil, err
	}
	return s, errors.Join(os.RemoveAll(layout.dir), os.WriteFile(note, data, 0o644))
}

// file is one of this machine's.
type file struct {
	path string
	size int64
}

// packageFiles lists the files of /usr in the order of their names, and what comes before each in bytes.
func packageFiles() (list []file, err error) {
	err = filepath.WalkDir("/usr", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p == "/usr/local" || p == "/usr/src" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && info.Mode().IsRegular() && info.Size() < 8<<20 {
			list = append(list, file{p, info.Size()})
		}
		return err
	})
	return list, err
}

// sampleLayer writes layer i: a run of files from the i-th eighth of the list on, and noise between them.
func sampleLayer(list []file, i int, w *tar.Writer) error {
	left := int64(layerBytes - layerNoise)
	noisy, each := 0, left/(layerNoise/noiseFile)
	for _, f := range list[len(list)*i/sampleLayers:] {
		for layerBytes-layerNoise-left >= int64(noisy)*each && noisy < layerNoise/noiseFile {
			if err := noise(w, fmt.Sprintf("noise/%d/%d", i, noisy), uint64(i<<8+noisy), noiseFile); err != nil {
				return err
			}
			noisy++
		}
		if left -= f.size + entryBytes; left < 0 {
			return nil
		}
		if err := addFile(w, f.path); err != nil {
			return err
		}
	}
	return nil
}

func addFile(w *tar.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname = strings.TrimPrefix(path, "/"), "", ""
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// noise writes a file of bytes that do not compress.
func noise(w *tar.Writer, name string, seed uint64, size int64) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(1, 0)}); err != nil {
		return err
	}
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, err := io.CopyN(w, rand.NewChaCha8(key), size)
	return err
}

// layout is an OCI image layout that is being written.
type layout struct {
	dir string
	all []ocispec.Descriptor
}

func newLayout(dir string) *layout { return &layout{dir: dir} }

// image writes an image of sampleLayers layers, two of them at a time.
func (l *layout) image(name string, write func(i int, w *tar.Writer) error) ([]ocispec.Descriptor, error) {
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs/sha256"), 0o755); err != nil {
		return nil, err
	}
	layers, diffs, errs := make([]ocispec.Descriptor, sampleLayers), make([]digest.Digest, sampleLayers), make([]error, sampleLayers)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i := range sampleLayers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			layers[i], diffs[i], errs[i] = l.layer(func(w *tar.Writer) error { return write(i, w) })
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	config, err := l.document(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffs}})
	if err != nil {
		return nil, err
	}
	manifest, err := l.document(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers})
	if err != nil {
		return nil, err
	}
	manifest.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	l.all = append(l.all, manifest)
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: l.all})
	if err != nil {
		return nil, err
	}
	return layers, errors.Join(os.WriteFile(filepath.Join(l.dir, ocispec.ImageIndexFile), index, 0o644),
		os.WriteFile(filepath.Join(l.dir, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

func (l *layout) layer(write func(*tar.Writer) error) (ocispec.Descriptor, digest.Digest, error) {
	f, err := os.CreateTemp(l.dir, "layer-")
	if err != nil {
		return ocispec.Descriptor{}, "", err
	}
	packed, plain := sha256.New(), sha256.New()
	size := &counter{}
	z := gzip.NewWriter(io.MultiWriter(f, packed, size))
	w := tar.NewWriter(io.MultiWriter(z, plain))
	if err := errors.Join(write(w), w.Close(), z.Close(), f.Close()); err != nil {
		return ocispec.Descriptor{}, "", err
	}
	d := digest.NewDigest(digest.SHA256, packed)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: size.n},
		digest.NewDigest(digest.SHA256, plain), os.Rename(f.Name(), filepath.Join(l.dir, "blobs/sha256", d.Encoded()))
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func (l *layout) document(mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, os.WriteFile(filepath.Join(l.dir, "blobs/sha256", d.Digest.Encoded()), data, 0o644)
}

// registry is a docker-registry that runs.
type registry struct {
	addr string
	log  string
	cmd  *exec.Cmd
}

// serveRegistry runs docker-registry on a free port, with the storage in data and its configuration and log in dir.
func serveRegistry(data, dir string) (*registry, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r := &registry{addr: addr, log: filepath.Join(dir, "registry-"+addr+".log")}
	conf := filepath.Join(dir, "registry-"+addr+".yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: false}}\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp: {addr: %s}\n", data, addr)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	r.cmd = exec.Command("docker-registry", "serve", conf)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	return r, answers("tcp", addr)
}

func (r *registry) end() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// fetches counts the requests for blobs that the log holds since the last call.
func (r *registry) fetches() (int, error) {
	b, err := os.ReadFile(r.log)
	if err != nil {
		return 0, err
	}
	return strings.Count(string(b), `"GET /v2/`+sampleName+`/blobs/`), os.Truncate(r.log, 0)
}

// freeAddress is one of the loopback's that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
