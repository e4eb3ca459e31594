package volume

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	types "github.com/moby/moby/api/types/volume"
)

// What was found is shown, whatever is put in its place afterwards, and nothing outside of the volume is found.
func TestSubpathIsWhatWasFound(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	s, done := open(t, t.TempDir())
	defer done()
	v, err := s.VolumeCreate(t.Context(), types.CreateRequest{Name: "vol"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(v.Mountpoint, "dir")
	for _, err := range []error{os.Mkdir(dir, 0o755), os.WriteFile(dir+"/f", []byte("inside"), 0o644), os.Symlink("/etc", v.Mountpoint+"/out"), unix.Mkfifo(v.Mountpoint+"/pipe", 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"dir", "dir/f", "pipe"} {
		path, release, err := s.Subpath("vol", v.Mountpoint, sub)
		if err != nil {
			t.Fatal(err)
		}
		if sub == "dir" {
			if err := os.Rename(dir, dir+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/etc", dir); err != nil {
				t.Fatal(err)
			}
			if data, err := os.ReadFile(path + "/f"); string(data) != "inside" {
				t.Errorf("after the exchange: %q, %v", data, err)
			}
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(dir+".old", dir); err != nil {
				t.Fatal(err)
			}
		}
		release()
	}
	for _, sub := range []string{"out", "out/passwd", "missing", ".."} {
		if path, _, err := s.Subpath("vol", v.Mountpoint, sub); err == nil {
			t.Errorf("%s is at %s", sub, path)
		}
	}
	if _, _, err := s.Subpath("vol", v.Mountpoint, "dir"); err != nil { // of an engine that is killed now
		t.Fatal(err)
	}
	s.sweepSubpaths()
	if left, err := os.ReadDir(s.subpaths); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
