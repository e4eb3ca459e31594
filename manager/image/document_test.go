package image

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/registry"
)

// inMemory is a source of documents for tests.
type inMemory map[digest.Digest][]byte

func (m inMemory) document(_ context.Context, d ocispec.Descriptor, _ int64) ([]byte, error) {
	if data, ok := m[d.Digest]; ok {
		return data, nil
	}
	return nil, errdefs.NotFound("blob %s: not found", d.Digest)
}

func (m inMemory) add(mediaType, text string) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
	m[d.Digest] = []byte(text)
	return d
}

// TestHostileDocuments is attacks I12, I21 and I22.
func TestHostileDocuments(t *testing.T) {
	m := inMemory{}
	diff := digest.FromString("layer").String()
	config := func(ids ...string) ocispec.Descriptor {
		return m.add(ocispec.MediaTypeImageConfig, fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[%s]}}`, strings.Join(ids, ",")))
	}
	describe := func(d ocispec.Descriptor) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
	}
	layer := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":5}`, ocispec.MediaTypeImageLayer, diff)
	one := config(fmt.Sprintf("%q", diff))
	manifest := func(config ocispec.Descriptor, layers ...string) ocispec.Descriptor {
		return m.add(ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, describe(config), strings.Join(layers, ",")))
	}
	helm := one
	helm.MediaType = "application/vnd.cncf.helm.config.v1+json"
	index := m.add(ocispec.MediaTypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, describe(manifest(one, layer))))
	for range 6 {
		index = m.add(ocispec.MediaTypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`, describe(index)))
	}
	if _, _, err := readDocument(t.Context(), m, manifest(one, layer), hostPlatform()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		target ocispec.Descriptor
		want   string
	}{
		"both kinds":        {m.add(ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s],"manifests":[]}`, describe(one), layer)), "ambiguous"},
		"other type":        {m.add(ocispec.MediaTypeImageManifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ocispec.MediaTypeImageIndex)), "ambiguous"},
		"schema 1":          {m.add(ocispec.MediaTypeImageManifest, `{"schemaVersion":1,"fsLayers":[]}`), "schema 1"},
		"too few layers":    {manifest(one), "0 layers, but the config names 1"},
		"too many layers":   {manifest(config(), layer), "1 layers, but the config names 0"},
		"hundreds":          {manifest(one, strings.Split(strings.Repeat(layer+"\n", maxLayers+1), "\n")[:maxLayers+1]...), "layers, more than"},
		"path as digest":    {manifest(one, strings.Replace(layer, diff, "sha256:../../../../etc/passwd", 1)), "invalid digest"},
		"upper-case digest": {manifest(one, strings.Replace(layer, diff, "sha256:"+strings.ToUpper(diff[7:]), 1)), "invalid digest"},
		"diffID as path":    {manifest(config(`"../x"`), layer), "invalid digest"},
		"negative size":     {manifest(one, strings.Replace(layer, `"size":5`, `"size":-5`, 1)), "size -5"},
		"foreign layer":     {manifest(one, strings.Replace(layer, ocispec.MediaTypeImageLayer, registry.MediaTypeDockerForeign, 1)), "is not supported"},
		"no image":          {manifest(helm, layer), "not a container image"},
		"deep indexes":      {index, "deep"},
		"not JSON":          {m.add(ocispec.MediaTypeImageManifest, "<html>"), "not a manifest"},
		"no platform": {m.add(ocispec.MediaTypeImageIndex, fmt.Sprintf(`{"schemaVersion":2,"manifests":[%s]}`,
			strings.Replace(describe(one), "{", `{"platform":{"os":"plan9","architecture":"mips"},`, 1))), "no matching manifest for linux/"},
	} {
		_, _, err := readDocument(t.Context(), m, c.target, hostPlatform())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestChoosePlatform(t *testing.T) {
	entry := func(os, arch, variant string) ocispec.Descriptor {
		return ocispec.Descriptor{Digest: digest.FromString(os + arch + variant), Platform: &ocispec.Platform{OS: os, Architecture: arch, Variant: variant}}
	}
	entries := []ocispec.Descriptor{
		entry("unknown", "unknown", ""), entry("linux", "arm", "v6"), entry("linux", "arm", "v7"), entry("linux", "amd64", "v3"),
		entry("linux", "amd64", ""), entry("linux", "arm64", "v8"), entry("windows", "amd64", ""),
	}
	for platform, want := range map[string]int{
		"linux/amd64": 4, "amd64": 4, "linux/x86_64": 4, "linux/amd64/v3": 3, "linux/amd64/v2": 4, "linux/arm64": 5, "linux/arm64/v8": 5,
		"linux/arm/v7": 2, "linux/arm": 2, "linux/arm/v6": 1, "windows/amd64": 6, "linux/riscv64": -1, "linux/arm/v5": -1,
	} {
		p, err := ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		got, err := choose(entries, p)
		if (err != nil) != (want < 0) || (want >= 0 && got.Digest != entries[want].Digest) {
			t.Errorf("%s: got %+v %v, want entry %d", platform, got.Platform, err, want)
		}
	}
	for _, bad := range []string{"linux/amd64/v8/x", "linux/", "a b"} {
		if _, err := ParsePlatform(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// FuzzReadDocument: manifests, indexes and configs from strangers are read or refused.
func FuzzReadDocument(f *testing.F) {
	f.Add(`{"schemaVersion":2,"config":{},"layers":[]}`)
	f.Add(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","platform":{}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		m := inMemory{}
		doc, _, err := readDocument(t.Context(), m, m.add("", text), hostPlatform())
		if err == nil && len(doc.layers) != len(doc.chains) {
			t.Errorf("%d layers, %d chains", len(doc.layers), len(doc.chains))
		}
	})
}
