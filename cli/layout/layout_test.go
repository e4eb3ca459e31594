package layout

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

type file struct{ name, text string }

// archive is what the engine would send.
func archive(t testing.TB, files ...file) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func blob(text string) file {
	return file{"blobs/" + strings.Replace(digestOf(text), ":", "/", 1), text}
}

func entry(tag, text string) string {
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d,"annotations":{"org.opencontainers.image.ref.name":%q}}`, digestOf(text), len(text), tag)
}

func index(entries ...string) file {
	return file{"index.json", `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`}
}

func manifest(layer string) string {
	return fmt.Sprintf(`{"config":{"digest":%q,"size":2},"layers":[{"digest":%q,"size":%d}]}`, digestOf("{}"), digestOf(layer), len(layer))
}

// below lists the files of a directory.
func below(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A layout grows by what comes, a tag moves, and what is packed of it is one image, or with all everything.
func TestUnpackAndPack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	one, two := manifest("first"), manifest("second")
	for _, a := range []*bytes.Buffer{
		archive(t, blob("{}"), blob("first"), blob(one), index(entry("1", one))),
		archive(t, blob("second"), blob(two), index(entry("2", two))),
		archive(t, index(entry("1", two))),
	} {
		if err := Unpack(a, dir); err != nil {
			t.Fatal(err)
		}
	}
	_, ix, err := readIndex(dir)
	if err != nil || len(ix.Manifests) != 2 || ix.Manifests[1].Digest.String() != digestOf(two) {
		t.Fatalf("%+v %v", ix, err)
	}
	packed := func(tag string, all bool) []string {
		t.Helper()
		var b bytes.Buffer
		if err := Pack(dir, tag, all, &b); err != nil {
			t.Fatal(err)
		}
		other := t.TempDir()
		if err := Unpack(&b, other); err != nil {
			t.Fatal(err)
		}
		return Blobs(other, 100)
	}
	want := []string{digestOf("{}"), digestOf("second"), digestOf(two)}
	slices.Sort(want)
	if got := packed("2", false); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if err := Pack(dir, "3", false, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "2, 1") {
		t.Errorf("no such tag: %v", err)
	}
	if err := Pack(t.TempDir(), "", false, &bytes.Buffer{}); err == nil {
		t.Error("packed what is no layout")
	}
	if got := Blobs(dir, 2); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// Nothing is written outside of the directory, and nothing that is not what it is named.
func TestUnpackRefuses(t *testing.T) {
	for name, files := range map[string][]file{
		"other content": {{"blobs/sha256/" + strings.Repeat("0", 64), "x"}, index()},
		"up":            {{"blobs/sha256/../../../evil", "x"}, index()},
		"algorithm":     {{"blobs/../evil", "x"}, index()},
		"no index":      {blob("x")},
		"broken index":  {{"index.json", "{"}},
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "a", "b")
		if err := Unpack(archive(t, files...), dir); err == nil {
			t.Errorf("%s: taken", name)
		}
		for _, f := range below(t, parent) {
			if name != "no index" || !strings.HasPrefix(f, "a/b/blobs/") {
				t.Errorf("%s: left %s", name, f)
			}
		}
	}
	// Names of a layout on the disk are a stranger's too.
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/index.json", []byte(`{"manifests":[{"digest":"sha256:../../../../etc/passwd","size":1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Pack(dir, "", false, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "not a digest") {
		t.Errorf("packed: %v", err)
	}
}

func FuzzUnpack(f *testing.F) {
	one := manifest("first")
	f.Add(archive(f, blob("{}"), blob("first"), blob(one), index(entry("1", one))).Bytes())
	f.Add(archive(f, file{"blobs/sha256/../x", "x"}, index()).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "layout")
		err := Unpack(bytes.NewReader(data), dir)
		for _, name := range below(t, parent) {
			inside, ok := strings.CutPrefix(name, "layout/")
			text, rerr := os.ReadFile(filepath.Join(parent, name))
			if !ok || rerr != nil {
				t.Fatalf("%s: %v", name, rerr)
			}
			switch {
			case inside == "index.json" && err == nil && json.Valid(text), inside == "oci-layout":
			case strings.HasPrefix(inside, "blobs/sha512/"):
			case inside == strings.Replace("blobs/"+digestOf(string(text)), ":", "/", 1):
			default:
				t.Errorf("it wrote %s (%v)", inside, err)
			}
		}
	})
}
