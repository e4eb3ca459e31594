package archive

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What is packed comes out as it was: files, links, hard links, modes.
func TestRoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for _, step := range []error{
		os.MkdirAll(from+"/d/e", 0o750), os.WriteFile(from+"/d/f", []byte("body"), 0o640),
		os.Symlink("f", from+"/d/l"), os.Link(from+"/d/f", from+"/d/e/h"), os.Chmod(from+"/d/e", 0o700),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	var b bytes.Buffer
	if err := Pack(from+"/d", "d", &b); err != nil {
		t.Fatal(err)
	}
	if err := Unpack(&b, to, "d", "renamed", true); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(to + "/renamed/e/h"); err != nil || string(data) != "body" {
		t.Errorf("%q %v", data, err)
	}
	for name, mode := range map[string]fs.FileMode{"e": 0o700 | fs.ModeDir, "f": 0o640, "": 0o750 | fs.ModeDir} {
		if info, err := os.Stat(filepath.Join(to, "renamed", name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if target, err := os.Readlink(to + "/renamed/l"); err != nil || target != "f" {
		t.Errorf("link to %q: %v", target, err)
	}
}

// An archive from a container reaches nothing outside of its directory, whatever its names and links say.
func TestUnpackStaysInside(t *testing.T) {
	for _, entries := range [][]tar.Header{
		{{Name: "../out", Typeflag: tar.TypeReg}},
		{{Name: "d/../../out", Typeflag: tar.TypeReg}},
		{{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../.."}, {Name: "d/l/out", Typeflag: tar.TypeReg}},
		{{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "OUTSIDE"}, {Name: "d/l/out", Typeflag: tar.TypeReg}},
		{{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "OUTSIDE/kept"}, {Name: "d/l", Typeflag: tar.TypeReg}},
		{{Name: "d/h", Typeflag: tar.TypeLink, Linkname: "../../kept"}},
	} {
		outside := t.TempDir()
		dir := filepath.Join(outside, "into")
		if err := os.MkdirAll(dir+"/d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(outside+"/kept", []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			if h.Linkname == "OUTSIDE" || h.Linkname == "OUTSIDE/kept" {
				h.Linkname = outside + h.Linkname[len("OUTSIDE"):]
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		err := Unpack(&b, dir, "d", "d", false)
		if data, _ := os.ReadFile(outside + "/kept"); string(data) != "kept" {
			t.Errorf("%v: a file outside became %q (%v)", entries, data, err)
		}
		if _, err := os.Lstat(outside + "/out"); err == nil {
			t.Errorf("%v: wrote outside", entries)
		}
	}
}
