package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
)

// dockerArchive writes an archive as docker save did before version 25: layer.tar in directories of their own.
func dockerArchive(t testing.TB, tag string, layers ...[]byte) []byte {
	t.Helper()
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers"}}
	files, item := map[string]string{}, archiveItem{RepoTags: []string{tag}}
	for i, l := range layers {
		name := fmt.Sprintf("%064d/layer.tar", i)
		files[name], files[fmt.Sprintf("%064d/json", i)], files[fmt.Sprintf("%064d/VERSION", i)] = string(l), "{}", "1.0"
		item.Layers = append(item.Layers, name)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l))
	}
	raw := mustJSON(t, config)
	item.Config = digest.FromBytes(raw).Encoded() + ".json"
	files[item.Config], files[fileManifest] = string(raw), string(mustJSON(t, []archiveItem{item}))
	return tarOf(t, files)
}

func TestLoadFormats(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("no busybox here")
	}
	layers := [][]byte{tarOf(t, map[string]string{"bin/busybox": string(busybox)}), tarOf(t, map[string]string{"shared/name": "1"})}
	docker := dockerArchive(t, "busybox:old", layers...)
	layout := newSample(t, 2, 5000, 20).layout(t, "docker.io/library/app:new")
	for name, c := range map[string]struct {
		archive []byte
		ref     string
	}{"docker": {docker, "busybox:old"}, "layout": {layout, "app:new"}} {
		var gz, zs bytes.Buffer
		g := gzip.NewWriter(&gz)
		_, _ = g.Write(c.archive)
		_ = g.Close()
		z, _ := zstd.NewWriter(&zs)
		_, _ = z.Write(c.archive)
		_ = z.Close()
		for form, data := range map[string][]byte{"plain": c.archive, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
			t.Run(name+" "+form, func(t *testing.T) {
				s := newService(t)
				var said lines
				made, err := s.Load(t.Context(), ns, bytes.NewReader(data), LoadOptions{Progress: said.add})
				if err != nil || len(made) != 1 || !said.has("Loaded image: "+c.ref) {
					t.Fatalf("%v %v %q", made, err, said.list)
				}
				d, err := s.Get(t.Context(), ns, c.ref)
				if err != nil {
					t.Fatal(err)
				}
				checkTree(t, s, d, 2)
				noLeftovers(t, s)
				if again, err := s.Load(t.Context(), ns, bytes.NewReader(data), LoadOptions{Quiet: true}); err != nil || again[0].Target.Digest != d.ID {
					t.Errorf("second load: %v %v", again, err)
				}
				for _, cut := range []int{len(data) / 3, len(data) / 2} {
					if _, err := s.Load(t.Context(), ns, bytes.NewReader(data[:cut]), LoadOptions{Quiet: true}); err == nil {
						t.Errorf("cut at %d was taken for whole", cut)
					}
				}
				noLeftovers(t, s)
			})
		}
	}
}

// TestSaveForOthers reads what Save writes with skopeo, in both formats, and loads it again.
func TestSaveForOthers(t *testing.T) {
	s := newService(t)
	for i, name := range []string{"docker.io/library/one:1", "example.org/two:2"} {
		if _, err := s.Load(t.Context(), ns, bytes.NewReader(newSample(t, 2, 5000, uint64(30+i)).layout(t, name)), LoadOptions{Quiet: true}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "save.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Save(t.Context(), ns, []string{"one"}, nil, f), f.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := s.Get(t.Context(), ns, "one:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("skopeo"); err == nil {
		for _, kind := range []string{"oci-archive:", "docker-archive:"} {
			out, err := exec.Command("skopeo", "inspect", kind+path).CombinedOutput()
			if err != nil || (kind == "oci-archive:" && !strings.Contains(string(out), d.ID.String())) {
				t.Errorf("skopeo inspect %s: %v\n%s", kind, err, out)
			}
			out, err = exec.Command("skopeo", "copy", "--insecure-policy", kind+path, "dir:"+t.TempDir()).CombinedOutput()
			if err != nil {
				t.Errorf("skopeo copy %s: %v\n%s", kind, err, out)
			}
		}
	}
	var both, again bytes.Buffer
	if err := s.Save(t.Context(), ns, []string{"one:1", "example.org/two:2", d.ID.String()}, nil, &both); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(t.Context(), ns, []string{"one:1", "example.org/two:2", d.ID.String()}, nil, &again); err != nil || !bytes.Equal(both.Bytes(), again.Bytes()) {
		t.Errorf("save is not the same twice: %v", err)
	}
	fresh := newService(t)
	made, err := fresh.Load(t.Context(), ns, &both, LoadOptions{Quiet: true})
	if err != nil || len(made) != 2 {
		t.Fatalf("%v %v", made, err)
	}
	if got, err := fresh.Get(t.Context(), ns, "one:1"); err != nil || got.ID != d.ID {
		t.Errorf("after save and load: %v %v", got.ID, err)
	}
	if err := s.Save(t.Context(), ns, []string{"nothing"}, nil, io.Discard); !errdefs.IsNotFound(err) || err.Error() != "No such image: nothing:latest" {
		t.Errorf("unknown image: %v", err)
	}
}

func TestLoadRefusesWhatIsNoArchive(t *testing.T) {
	s := newService(t)
	item := string(mustJSON(t, []archiveItem{{Config: "../../etc/passwd", Layers: []string{"../../etc/shadow"}, RepoTags: []string{"x:1"}}}))
	var links bytes.Buffer
	w := tar.NewWriter(&links)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "config.json", Linkname: "/etc/passwd"})
	linked := mustJSON(t, []archiveItem{{Config: "config.json", RepoTags: []string{"x:1"}}})
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fileManifest, Size: int64(len(linked))})
	_, _ = w.Write(linked)
	_ = w.Close()
	sample := newSample(t, 1, 100, 40)
	wrong := map[string]string{ocispec.ImageIndexFile: "{}", blobName(sample.config.Digest): "other bytes"}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"text":         {[]byte(strings.Repeat("this is text. ", 100)), "the input is no image archive"},
		"nothing":      {nil, "the input is no image archive"},
		"a rootfs":     {tarOf(t, map[string]string{"etc/passwd": "root"}), "neither manifest.json nor index.json"},
		"I24 names":    {tarOf(t, map[string]string{fileManifest: item, "a": "b"}), "which is not in it"},
		"I24 links":    {links.Bytes(), "which is not in it"},
		"wrong digest": {tarOf(t, wrong), "has the digest"},
		"bad tag":      {dockerArchive(t, "Bad Tag", tarOf(t, map[string]string{"f": "x"})), "invalid reference format"},
		"empty index":  {tarOf(t, map[string]string{ocispec.ImageIndexFile: `{"schemaVersion":2,"manifests":[]}`}), "holds no image"},
	} {
		_, err := s.Load(t.Context(), ns, bytes.NewReader(c.data), LoadOptions{Quiet: true})
		if err == nil || !strings.Contains(err.Error(), c.want) || !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: got %v (%s), want %q", name, err, errdefs.Of(err), c.want)
		}
	}
	noLeftovers(t, s)
	if list, err := s.List(t.Context(), ns); err != nil || len(list) != 0 {
		t.Errorf("images: %v %v", list, err)
	}
}

func TestImport(t *testing.T) {
	s := newService(t)
	tree := tarOf(t, map[string]string{"shared/name": "0", "etc/os-release": "x"})
	img, err := s.Import(t.Context(), ns, bytes.NewReader(tree), "mine:1", ImportOptions{Message: "from a tar", Config: ocispec.ImageConfig{Cmd: []string{"/x"}}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Get(t.Context(), ns, "mine:1")
	if err != nil || d.ID != img.Target.Digest || d.Config.Config.Cmd[0] != "/x" || d.Config.Comment != "from a tar" || len(d.Names) != 1 {
		t.Fatalf("%+v %v", d, err)
	}
	checkTree(t, s, d, 1)
	if _, err := s.Import(t.Context(), ns, strings.NewReader("no tar"), "", ImportOptions{}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("no tar: %v", err)
	}
	noLeftovers(t, s)
}

func TestLoadHello(t *testing.T) {
	s := newService(t)
	img, err := s.LoadHello(t.Context(), ns)
	if errdefs.Is(err, errdefs.ErrFailedPrecondition) {
		t.Skip(err)
	}
	if err != nil || img.Name != "docker.io/library/hello:latest" {
		t.Fatalf("%v %v", img, err)
	}
	d, err := s.Get(t.Context(), ns, "hello")
	if err != nil || d.Config.Config.Cmd[0] != "/hello" {
		t.Fatalf("%+v %v", d, err)
	}
	if chain, err := s.Unpack(t.Context(), d); err != nil || chain != d.ChainID {
		t.Errorf("%s %v", chain, err)
	}
	if !IsHello("hello") || !IsHello("docker.io/library/hello:latest") || IsHello("hello:2") {
		t.Error("IsHello")
	}
}

// TestIndexFile: the content directory is a layout that other tools read.
func TestIndexFile(t *testing.T) {
	s := newService(t)
	if _, err := s.Load(t.Context(), ns, bytes.NewReader(newSample(t, 1, 100, 41).layout(t, "docker.io/library/app:1")), LoadOptions{Quiet: true}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(s.Content.Root(), ocispec.ImageIndexFile))
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != 1 || index.Manifests[0].Annotations[ocispec.AnnotationRefName] != "docker.io/library/app:1" {
		t.Errorf("%s %v", raw, err)
	}
	if _, err := exec.LookPath("skopeo"); err == nil {
		out, err := exec.Command("skopeo", "inspect", "oci:"+s.Content.Root()).CombinedOutput()
		if err != nil {
			t.Errorf("skopeo inspect oci: %v\n%s", err, out)
		}
	}
}

// FuzzLoad: archives from strangers are loaded or refused, and leave nothing half-made.
func FuzzLoad(f *testing.F) {
	f.Add(newSample(f, 1, 10, 42).layout(f, "docker.io/library/app:1"))
	f.Add(dockerArchive(f, "x:1", tarOf(f, map[string]string{"a": "b"})))
	s := newService(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = s.Load(t.Context(), ns, bytes.NewReader(data), LoadOptions{Quiet: true})
		noLeftovers(t, s)
	})
}
