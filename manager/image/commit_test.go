package image

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/gc"
)

// TestCommitRoundTrip changes a container's upper directory as overlayfs would and looks at the image made of it.
func TestCommitRoundTrip(t *testing.T) {
	s := newService(t)
	parent := loadAs(t, s, 80, "a:1")
	mounts, err := s.Snapshots.Prepare(t.Context(), "container", parent.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	target, err := targetOf(mounts, false)
	if err != nil || !target.Overlay {
		t.Skip("no overlay here")
	}
	up := func(name string) string { return filepath.Join(target.Dir, name) }
	for _, err := range []error{
		os.WriteFile(up("new"), []byte("made"), 0o4755), os.Link(up("new"), up("same")), os.Symlink("/new", up("link")),
		unix.Mknod(up("gone"), unix.S_IFCHR, 0), os.Mkdir(up("layer0"), 0o700), unix.Setxattr(up("layer0"), "trusted.overlay.opaque", []byte("y"), 0),
		os.Chmod(up("new"), os.ModeSetuid|0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	img, err := s.Commit(t.Context(), ns, CommitOptions{
		Parent: parent, Snapshot: "container", Ref: "b:1", Message: "changed", Config: json.RawMessage(`{"Cmd":["/new"],"Healthcheck":{"Test":["NONE"]}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Get(t.Context(), ns, "b:1")
	if err != nil || d.ID != img.Target.Digest || len(d.Layers) != 2 || d.Config.Config.Cmd[0] != "/new" || !strings.Contains(string(d.RawConfig), "Healthcheck") {
		t.Fatalf("%+v %v", d, err)
	}
	view, err := s.Snapshots.View(t.Context(), "view", d.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	lower, _ := lowerDirs(view[0].Options, "")
	at := func(name string) (st unix.Stat_t) {
		if err := unix.Lstat(filepath.Join(lower[0], name), &st); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return st
	}
	if a, b := at("new"), at("same"); a.Ino != b.Ino || a.Mode&0o7777 != 0o4755 {
		t.Errorf("hard link or mode lost: %+v %+v", a, b)
	}
	if st := at("gone"); st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
		t.Errorf("whiteout: %o", st.Mode)
	}
	var value [2]byte
	if n, err := unix.Getxattr(filepath.Join(lower[0], "layer0"), "trusted.overlay.opaque", value[:]); err != nil || n != 1 {
		t.Errorf("opaque: %v", err)
	}
}

// TestCollector: what an image needs stays, what it needed goes.
func TestCollector(t *testing.T) {
	s := newService(t)
	c := gc.New(gc.Config{DB: s.DB, Content: s.Content, Snapshots: s.Snapshots.(gc.Snapshots), Leases: s.Leases})
	t.Cleanup(c.Close)
	d := loadAs(t, s, 81, "a:1")
	if r, err := c.Run(t.Context()); err != nil || len(r.Blobs)+len(r.Snapshots) > 0 {
		t.Fatalf("freed of a whole image: %+v %v", r, err)
	}
	if _, err := s.Remove(t.Context(), ns, "a:1", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := c.Run(t.Context())
	if err != nil || len(r.Blobs) != 3 || len(r.Snapshots) != 1 {
		t.Errorf("freed %+v %v, want manifest, config, layer and snapshot", r, err)
	}
	err = s.Content.Walk(t.Context(), func(i content.Info) error { t.Errorf("blob %s is left", i.Digest); return nil })
	if err != nil {
		t.Error(err)
	}
	if _, err := s.Snapshots.Stat(t.Context(), d.ChainID); err == nil {
		t.Error("snapshot is left")
	}
	loadAs(t, s, 81, "a:1")
}

// TestDiskFull is fault F11: a clear error, nothing half-made, and the next pull works when there is room.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=16m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Error(err)
		}
	})
	s := openService(t, root)
	c := gc.New(gc.Config{DB: s.DB, Content: s.Content, Snapshots: s.Snapshots.(gc.Snapshots), Leases: s.Leases})
	t.Cleanup(c.Close)
	s.Collect = func(ctx context.Context) (int64, error) { r, err := c.Run(ctx); return r.Bytes, err }
	g := &rogue{sample: newSample(t, 3, 5<<20, 82)}
	_, err := s.Pull(t.Context(), ns, g.start(t)+"/app:1", PullOptions{})
	if err == nil || !strings.Contains(err.Error(), "no space left") || !strings.Contains(err.Error(), "prune") {
		t.Errorf("got %v", err)
	}
	noLeftovers(t, s)
	if list, err := s.List(t.Context(), ns); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	g = &rogue{sample: newSample(t, 1, 1<<20, 83)}
	addr := g.start(t)
	for range 50 { // the unpacked files' space comes back in the background
		if _, err = s.Pull(t.Context(), ns, addr+"/app:1", PullOptions{}); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error(err)
}
