//go:build ignore

// Generate builds cmd/conex-hello and makes the embedded image `hello` of it, as image/hello.tar; `go generate` runs
// it. The result depends on the program's bytes only.
package main

import (
	"archive/tar"
	"bytes"
	_ "crypto/sha256" // for go-digest
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxSize is the image's budget: it is in every conexd.
const maxSize = 1 << 20

var epoch = time.Unix(0, 0).UTC()

func main() {
	out := layout(program())
	if len(out) > maxSize {
		log.Fatalf("the hello image has %d bytes, more than %d", len(out), maxSize)
	}
	check(os.WriteFile("image/hello.tar", out, 0o644))
	fmt.Printf("embedded image hello: %d KiB\n", len(out)>>10)
}

// program builds the one file of the image.
func program() []byte {
	dir, err := os.MkdirTemp("", "conex-hello-")
	check(err)
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "hello")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", path,
		"github.com/conex-containers/conex/cmd/conex-hello")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	check(build.Run())
	data, err := os.ReadFile(path)
	check(err)
	return data
}

// layout is an OCI layout with one image of one layer, as a tar.
func layout(program []byte) []byte {
	plain := archive(file{"hello", program, 0o755})
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	check(err)
	_, err = z.Write(plain)
	check(err)
	check(z.Close())
	config := marshal(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch()},
		Config: ocispec.ImageConfig{
			Cmd: []string{"/hello"}, Env: []string{"PATH=/"}, WorkingDir: "/",
			Labels: map[string]string{"org.opencontainers.image.title": "hello", "org.opencontainers.image.licenses": "Apache-2.0"},
		},
		RootFS:  ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain)}},
		History: []ocispec.History{{CreatedBy: "cmd/conex-hello"}},
	})
	manifest := marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, config),
		Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayerGzip, packed.Bytes())},
	})
	target := describe(ocispec.MediaTypeImageManifest, manifest)
	target.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/hello:latest", ocispec.AnnotationRefName: "latest"}
	index := marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{target},
	})
	return archive(
		blob(packed.Bytes()), blob(config), blob(manifest),
		file{ocispec.ImageIndexFile, index, 0o644},
		file{ocispec.ImageLayoutFile, marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}), 0o644},
	)
}

// arch is what the program was built for: GOARCH of the build, this machine's when it is not set.
func arch() string {
	if a := os.Getenv("GOARCH"); a != "" {
		return a
	}
	return runtime.GOARCH
}

type file struct {
	name string
	data []byte
	mode int64
}

func blob(data []byte) file {
	return file{"blobs/sha256/" + digest.FromBytes(data).Encoded(), data, 0o644}
}

func archive(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: epoch}))
		_, err := w.Write(f.data)
		check(err)
	}
	check(w.Close())
	return b.Bytes()
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func marshal(v any) []byte {
	data, err := json.Marshal(v)
	check(err)
	return data
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
