package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// listRow lists many images, small ones of one layer. They are loaded when the row begins.
func (r *imageRig) listRow() row {
	loaded := map[*engine]bool{}
	dockerlike := func(f func(*engine) []step) func(*engine) []step {
		return func(e *engine) []step {
			if e.ctr || e.name == "podman+crun" || e.name == "skopeo" || e.name == "curl" {
				return nil
			}
			return f(e)
		}
	}
	return row{name: "image-ls", before: dockerlike(func(e *engine) []step {
		if loaded[e] {
			return nil
		}
		loaded[e] = true
		return []step{{between: r.manyImages}, sh(e, "$E load -q -i %s >/dev/null", r.many()), synced}
	}), command: dockerlike(func(e *engine) []step { return []step{sh(e, "$E images >/dev/null")} })}
}

func (r *imageRig) many() string { return r.dir + "/many.tar" }

// manyImages writes a docker archive of r.count images.
func (r *imageRig) manyImages() error {
	if _, err := os.Stat(r.many()); err == nil {
		return nil
	}
	f, err := os.Create(r.many())
	if err != nil {
		return err
	}
	return errors.Join(writeMany(f, r.count), f.Close())
}

func writeMany(to io.Writer, count int) error {
	w := tar.NewWriter(to)
	add := func(name string, data []byte) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err := w.Write(data)
		return err
	}
	var plain bytes.Buffer
	layer := tar.NewWriter(&plain)
	if err := errors.Join(layer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "empty", Mode: 0o644}), layer.Close(), add("layer.tar", plain.Bytes())); err != nil {
		return err
	}
	type item struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var items []item
	for i := range count {
		config, err := json.Marshal(ocispec.Image{
			Author: fmt.Sprint(i), Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
			RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain.Bytes())}},
		})
		if err != nil {
			return err
		}
		name := digest.FromBytes(config).Encoded() + ".json"
		if err := add(name, config); err != nil {
			return err
		}
		items = append(items, item{Config: name, RepoTags: []string{fmt.Sprintf("many%d:1", i)}, Layers: []string{"layer.tar"}})
	}
	manifest, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return errors.Join(add("manifest.json", manifest), w.Close())
}
