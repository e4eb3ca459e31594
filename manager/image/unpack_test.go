package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/manager/snapshot"
)

// layersOf makes an image of layers that are given as their entries.
func layersOf(t *testing.T, layers ...[]tar.Header) *sample {
	t.Helper()
	s := &sample{blobs: map[digest.Digest][]byte{}}
	img := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, entries := range layers {
		var plain bytes.Buffer
		w := tar.NewWriter(&plain)
		for _, h := range entries {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.FromBytes(plain.Bytes()))
		s.layers = append(s.layers, s.add(ocispec.MediaTypeImageLayer, plain.Bytes()))
	}
	s.config = s.add(ocispec.MediaTypeImageConfig, mustJSON(t, img))
	s.manifest = s.add(ocispec.MediaTypeImageManifest, mustJSON(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: s.config, Layers: s.layers,
	}))
	return s
}

// extracted looks whether some snapshot that is being filled has the file.
func extracted(t *testing.T, s *Service, name string) bool {
	found := false
	err := s.Snapshots.Walk(t.Context(), func(i snapshot.Info) error {
		if !strings.HasPrefix(i.Key, "extract-") {
			return nil
		}
		mounts, err := s.Snapshots.Mounts(t.Context(), i.Key)
		if err != nil {
			return nil // it was committed meanwhile
		}
		target, err := targetOf(mounts, i.Parent == "")
		if err == nil {
			_, err = os.Lstat(filepath.Join(target.Dir, name))
		}
		found = found || err == nil
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// TestLayersSideBySide: the upper layer is unpacked while the lower one still comes; what it takes from below (a hard
// link's file, a directory that it does not name) is as if the one had followed the other.
func TestLayersSideBySide(t *testing.T) {
	dir := func(name string, mode int64) tar.Header {
		return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, Uid: 7}
	}
	file := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: 5}
	}
	sample := layersOf(t,
		[]tar.Header{dir("./", 0o711), dir("quiet", 0o750), file("quiet/first"), file("linked"), file("gone")},
		[]tar.Header{file("early"), file("quiet/second"), {Typeflag: tar.TypeReg, Name: ".wh.gone"}, {Typeflag: tar.TypeLink, Name: "late", Linkname: "linked"}, file("after")},
	)
	s := newService(t)
	g := &rogue{sample: sample, blob: func(w http.ResponseWriter, r *http.Request, data []byte) {
		if strings.HasSuffix(r.URL.Path, sample.layers[0].Digest.String()) {
			for deadline := time.Now().Add(20 * time.Second); !extracted(t, s, "early"); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Error("the upper layer waits for the lower one")
					break
				}
			}
			if extracted(t, s, "after") {
				t.Error("a hard link to a file below was made before that was there")
			}
		}
		_, _ = w.Write(data)
	}}
	img, err := s.Pull(t.Context(), ns, g.start(t)+"/app:1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Get(t.Context(), ns, img.Name)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := s.Snapshots.View(t.Context(), "view", d.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := lowerDirs(mounts[0].Options, mounts[0].Source)
	if err != nil || len(layers) != 2 {
		t.Fatalf("%v: %v", layers, err)
	}
	for name, mode := range map[string]uint32{"quiet": unix.S_IFDIR | 0o750, ".": unix.S_IFDIR | 0o711, "late": unix.S_IFREG | 0o600, "gone": unix.S_IFCHR} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(layers[0], name), &st); err != nil || st.Mode != mode || (mode&unix.S_IFDIR != 0 && st.Uid != 7) {
			t.Errorf("%s: mode %o of user %d, want %o: %v", name, st.Mode, st.Uid, mode, err)
		}
	}
	if err := s.Snapshots.Remove(t.Context(), "view"); err != nil {
		t.Error(err)
	}
	noLeftovers(t, s)
}

// TestFollowerOfAFailedDownload: between the end of the writer and that of the download an unpacker waits for the cause.
func TestFollowerOfAFailedDownload(t *testing.T) {
	s := newService(t)
	data := bytes.Repeat([]byte("x"), 1000)
	d := newDownload(s.Content, ocispec.Descriptor{Digest: digest.FromBytes(append(data, 'y')), Size: 1001}, nil)
	w, err := s.Content.Writer(t.Context(), "layer", d.desc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	d.begin(w)
	d.advance(int64(len(data)))
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { d.end(unix.ENOSPC) })
	r := d.follow(t.Context())
	defer func() { _ = r.Close() }()
	if n, err := bufio.NewReader(r).ReadByte(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%d, %v", n, err)
	}
}
