package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// realSample makes an image of n layers, each with about size bytes of this machine's own files.
func realSample(b *testing.B, n int, size int64) *sample {
	b.Helper()
	s := &sample{blobs: map[digest.Digest][]byte{}}
	img := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers"}}
	var plain bytes.Buffer
	w, filled := tar.NewWriter(&plain), int64(0)
	flush := func() {
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		var gz bytes.Buffer
		z := gzip.NewWriter(&gz)
		_, _ = z.Write(plain.Bytes())
		_ = z.Close()
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.FromBytes(plain.Bytes()))
		s.layers = append(s.layers, s.add(ocispec.MediaTypeImageLayerGzip, gz.Bytes()))
		plain.Reset()
		w, filled = tar.NewWriter(&plain), 0
	}
	err := filepath.WalkDir("/usr", func(p string, d fs.DirEntry, err error) error {
		if err != nil || len(s.layers) == n {
			return fs.SkipAll
		}
		info, err := d.Info()
		if err != nil || (!info.Mode().IsRegular() && !info.IsDir()) {
			return nil
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name = p[1:]
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if info.Mode().IsRegular() {
			f, err := os.Open(p)
			if err != nil {
				return err
			}
			_, err = io.Copy(w, f)
			_ = f.Close()
			if err != nil {
				return err
			}
		}
		if filled += info.Size(); filled >= size {
			flush()
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	s.config = s.add(ocispec.MediaTypeImageConfig, mustJSON(b, img))
	s.manifest = s.add(ocispec.MediaTypeImageManifest, mustJSON(b, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: s.config, Layers: s.layers,
	}))
	return s
}

// BenchmarkPull pulls and unpacks 8 layers of real files from docker-registry into a new data root each time.
func BenchmarkPull(b *testing.B) {
	addr := startRegistry(b)
	s := realSample(b, 8, 32<<20)
	var packed int64
	for _, l := range s.layers {
		packed += l.Size
	}
	s.push(b, addr+"/bench:1")
	b.SetBytes(packed)
	best := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		root := b.TempDir()
		service, end := assemble(b, root)
		b.StartTimer()
		begin := time.Now()
		if _, err := service.Pull(b.Context(), ns, addr+"/bench:1", PullOptions{}); err != nil {
			b.Fatal(err)
		}
		if d := time.Since(begin); best == 0 || d < best {
			best = d
		}
		b.StopTimer()
		end()
		if err := os.RemoveAll(root); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(best.Seconds()*1000, "best-ms")
	peers(b, addr, s)
}

// peers measures, when they are here, skopeo (fetches into a directory, unpacks nothing) and curl, gzip and tar (one
// layer after the other, nothing verified) on the same image.
func peers(b *testing.B, addr string, s *sample) {
	b.Helper()
	tars := "set -e\n"
	for _, l := range s.layers {
		tars += "curl -sf http://" + addr + "/v2/bench/blobs/" + l.Digest.String() + " | gzip -d | tar x\n"
	}
	for name, script := range map[string]string{
		"skopeo-copy-ms":   "skopeo copy -q --insecure-policy --src-tls-verify=false docker://" + addr + "/bench:1 oci:x",
		"curl-gzip-tar-ms": tars,
	} {
		best := time.Duration(0)
		for range 4 {
			cmd := exec.Command("/bin/sh", "-c", script)
			cmd.Dir = b.TempDir()
			begin := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Logf("%s: %v: %s", name, err, out)
				return
			}
			if d := time.Since(begin); best == 0 || d < best {
				best = d
			}
			if err := os.RemoveAll(cmd.Dir); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(best.Seconds()*1000, name)
	}
}

// BenchmarkList lists 10,000 images of one layer each.
func BenchmarkList(b *testing.B) {
	const n = 10_000
	s := newService(b)
	var list []loaded
	for i := range n {
		config, err := s.Content.WriteBytes(b.Context(), ocispec.MediaTypeImageConfig, mustJSON(b, ocispec.Image{
			Author: fmt.Sprint(i), Platform: hostPlatform(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("layer")}},
		}), nil)
		if err != nil {
			b.Fatal(err)
		}
		manifest, err := s.Content.WriteBytes(b.Context(), ocispec.MediaTypeImageManifest, mustJSON(b, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
			Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("layer"), Size: 1}},
		}), nil)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, loaded{target: manifest, names: []string{fmt.Sprintf("docker.io/library/many%d:1", i)}})
	}
	if _, err := s.pointAll(b.Context(), ns, list); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if all, err := s.List(b.Context(), ns); err != nil || len(all) != n {
			b.Fatal(len(all), err)
		}
	}
}
