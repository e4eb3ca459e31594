package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/native"
	"github.com/conex-containers/conex/manager/snapshot/overlay"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
	"github.com/conex-containers/conex/manager/snapshot/snapshottest"
)

func needRoot(t testing.TB) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// fixture is a store with its databases, which can be closed and opened again.
type fixture struct {
	t            testing.TB
	dir          string
	drivers      []snapshot.Driver
	durable, run *metadata.DB
	*snapshot.Store
}

func newFixture(t testing.TB, drivers ...snapshot.Driver) *fixture {
	t.Helper()
	needRoot(t)
	f := &fixture{t: t, dir: t.TempDir(), drivers: drivers}
	f.open()
	t.Cleanup(f.close)
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	var err error
	if f.durable, err = metadata.Open(filepath.Join(f.dir, "conex.db"), metadata.Options{}); err != nil {
		f.t.Fatal(err)
	}
	if f.run, err = metadata.Open(filepath.Join(f.dir, "run", "run.db"), metadata.Options{Volatile: true}); err != nil {
		f.t.Fatal(err)
	}
	if f.Store, err = snapshot.Open(filepath.Join(f.dir, "snapshot"), f.durable, f.run, f.drivers...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) close() {
	if f.Store == nil {
		return
	}
	for _, close := range []func() error{f.Store.Close, f.durable.Close, f.run.Close} {
		if err := close(); err != nil {
			f.t.Error(err)
		}
	}
	f.Store = nil
}

// dirs lists what is on the disk besides an empty trash.
func (f *fixture) dirs() []string {
	f.t.Helper()
	root := filepath.Join(f.dir, "snapshot", f.drivers[0].Name())
	var names []string
	for _, dir := range []string{root, filepath.Join(root, "trash")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "trash" {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names
}

func (f *fixture) commit(name, parent string, files map[string]string) {
	f.t.Helper()
	mounts, err := f.Prepare(f.t.Context(), "x-"+name, parent)
	if err != nil {
		f.t.Fatal(err)
	}
	f.fill(mounts, files)
	if err := f.Commit(f.t.Context(), name, "x-"+name); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) fill(mounts []mount.Mount, files map[string]string) {
	f.t.Helper()
	d, err := rootfs.Detach(mounts, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for name, text := range files {
		if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), []byte(text), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

func TestSuiteOverlay(t *testing.T) {
	snapshottest.Run(t, func(t *testing.T) snapshot.Snapshotter {
		f := newFixture(t, overlay.New(), native.New())
		if f.Driver() != "overlay" {
			t.Skipf("overlay does not work here, driver is %s", f.Driver())
		}
		return f.Store
	})
}

// The kernel mounts EROFS images from files since Linux 6.12: older ones are told so, and use overlay.
func TestSuiteEROFS(t *testing.T) {
	snapshottest.Run(t, func(t *testing.T) snapshot.Snapshotter {
		f := newFixture(t, overlay.NewEROFS(), overlay.New())
		if f.Driver() != "erofs" {
			t.Skipf("this kernel mounts no EROFS images from files, driver is %s", f.Driver())
		}
		return f.Store
	})
}

func TestSuiteNative(t *testing.T) {
	snapshottest.Run(t, func(t *testing.T) snapshot.Snapshotter { return newFixture(t, native.New()).Store })
}

// broken is an overlay driver on a file system that does not carry it.
type broken struct{ *overlay.Driver }

func (broken) Probe(string) error { return errors.New("no whiteouts here") }

func TestFallback(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	db, err := metadata.Open(filepath.Join(dir, "db"), metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	b := broken{overlay.New()}
	if _, err := snapshot.Open(dir, db, nil, b); !errdefs.Is(err, errdefs.ErrFailedPrecondition) || !strings.Contains(err.Error(), "no whiteouts") {
		t.Errorf("overlay alone: %v", err)
	}
	s, err := snapshot.Open(dir, db, nil, b, native.New())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prepare(t.Context(), "c", ""); err != nil || s.Driver() != "native" {
		t.Errorf("driver %s, %v", s.Driver(), err)
	}
	if _, err := s.Prepare(t.Context(), "v", "", snapshot.Volatile()); !errdefs.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("volatile without its database: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := snapshot.Open(dir, db, nil, overlay.New()); !errdefs.Is(err, errdefs.ErrFailedPrecondition) || !strings.Contains(err.Error(), "native") {
		t.Errorf("another driver's snapshots: %v", err)
	}
	// The existing snapshots choose, not the order.
	s, err = snapshot.Open(dir, db, nil, overlay.New(), native.New())
	if err != nil || s.Driver() != "native" {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestOddPaths: a data root may have any name.
func TestOddPaths(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"with:colon", "with,comma", "with space", strings.Repeat("long", 60)} {
		f := &fixture{t: t, dir: filepath.Join(t.TempDir(), name), drivers: []snapshot.Driver{overlay.New()}}
		f.open()
		f.commit("base", "", map[string]string{"a": "1"})
		f.commit("top", "base", map[string]string{"b": "2"})
		m, err := f.Prepare(t.Context(), "c", "top", snapshot.Volatile())
		if err != nil {
			t.Fatal(err)
		}
		f.fill(m, map[string]string{"c": "3"})
		f.close()
	}
}

func TestReopen(t *testing.T) {
	f := newFixture(t, overlay.New())
	f.commit("base", "", map[string]string{"a": "1"})
	for _, key := range []string{"c1", "c2"} {
		if _, err := f.Prepare(t.Context(), key, "base"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Prepare(t.Context(), "rm", "base", snapshot.Volatile()); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(t.Context(), "c2"); err != nil {
		t.Fatal(err)
	}
	if f.Inherited("c1") {
		t.Error("c1 is inherited already")
	}
	f.close()
	if got := f.dirs(); !slices.Equal(got, []string{"0", "1", "3"}) {
		t.Errorf("directories %v", got)
	}
	// What a crash can leave: directories without a record, half-removed trees, a probe.
	root := filepath.Join(f.dir, "snapshot", "overlay")
	for _, d := range []string{"77/fs/deep", "probe-1/x", "trash/5-1/fs"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.open()
	if !f.Inherited("c1") {
		t.Error("c1 is not inherited")
	}
	for _, key := range []string{"base", "c1", "rm"} {
		if _, err := f.Stat(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Prepare(t.Context(), "c3", "base"); err != nil {
		t.Fatal(err)
	}
	f.close()
	if got := f.dirs(); !slices.Equal(got, []string{"0", "1", "3", "78"}) {
		t.Errorf("directories after a crash %v", got)
	}
	// After a reboot, volatile ones and layers that were not synced are gone; the rest stays.
	if err := os.WriteFile(filepath.Join(f.dir, "run", "run.db.boot"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(root, "1")); err != nil {
		t.Fatal(err)
	}
	f.open()
	if _, err := f.Stat(t.Context(), "rm"); !errdefs.IsNotFound(err) {
		t.Errorf("volatile after reboot: %v", err)
	}
	if m, err := f.Mounts(t.Context(), "c1"); err != nil {
		t.Error(err)
	} else {
		f.fill(m, map[string]string{"new": "1"})
	}
	f.close()
	if got := f.dirs(); !slices.Equal(got, []string{"0", "1", "78"}) {
		t.Errorf("directories after a reboot %v", got)
	}
}

func TestAudit(t *testing.T) {
	f := newFixture(t, overlay.New())
	f.commit("base", "", nil)
	if _, err := f.Prepare(t.Context(), "c", "base", snapshot.Volatile()); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(f.dir, "snapshot")
	audit := func(want ...string) {
		t.Helper()
		mine, err := f.Audit(t.Context())
		all, err2 := snapshot.Audit(t.Context(), root, f.durable, f.run)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string][]string{"store": mine, "package": all} {
			text := strings.Join(got, "\n")
			if len(got) != len(want) {
				t.Errorf("%s: %s", what, text)
			}
			for _, w := range want {
				if !strings.Contains(text, w) {
					t.Errorf("%s: %q does not say %q", what, text, w)
				}
			}
		}
	}
	audit()
	if err := errors.Join(os.RemoveAll(filepath.Join(root, "overlay/0/fs")), os.RemoveAll(filepath.Join(root, "overlay/1")),
		os.Mkdir(filepath.Join(root, "overlay/9"), 0o700)); err != nil {
		t.Fatal(err)
	}
	audit("0: is missing, snapshot base", "1: is missing, snapshot c", "9: no record explains it")
}

// TestPowerCut: a committed snapshot that was not synced under another boot is dropped; its children find it again
// when it is unpacked anew.
func TestPowerCut(t *testing.T) {
	f := newFixture(t, overlay.New())
	f.commit("base", "", map[string]string{"a": "1"})
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.commit("top", "base", map[string]string{"b": "2"})
	if _, err := f.Prepare(t.Context(), "c", "top"); err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	err := f.durable.Update(t.Context(), func(tx *metadata.Tx) error {
		if err := tx.Get(metadata.Snapshots, "", "top", &record); err != nil {
			return err
		}
		if record["boot"] == nil {
			t.Error("the record of an unsynced layer names no boot")
		}
		record["boot"] = "other"
		return tx.Put(metadata.Snapshots, "", "top", record)
	})
	if err != nil {
		t.Fatal(err)
	}
	// As after a crash: the store is not closed properly, since Close would sync.
	if err := f.durable.Close(); err != nil {
		t.Fatal(err)
	}
	_ = f.run.Close()
	f.open()
	if _, err := f.Stat(t.Context(), "base"); err != nil {
		t.Error(err)
	}
	if _, err := f.Stat(t.Context(), "top"); !errdefs.IsNotFound(err) {
		t.Errorf("lost layer: %v", err)
	}
	if _, err := f.Mounts(t.Context(), "c"); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "pull") {
		t.Errorf("container on a lost layer: %v", err)
	}
	f.commit("top", "base", map[string]string{"b": "2"})
	if _, err := f.Mounts(t.Context(), "c"); err != nil {
		t.Error(err)
	}
}

func TestRoot(t *testing.T) {
	for _, d := range []snapshot.Driver{overlay.New(), native.New()} {
		t.Run(d.Name(), func(t *testing.T) {
			f := newFixture(t, d)
			f.commit("base", "", map[string]string{"passwd": "root", "a": "1"})
			f.commit("top", "base", map[string]string{"a": "2"})
			m, err := f.Prepare(t.Context(), "c", "top")
			if err != nil {
				t.Fatal(err)
			}
			f.fill(m, map[string]string{"mine": "3"})
			if _, err := f.View(t.Context(), "v", "top"); err != nil {
				t.Fatal(err)
			}
			for key, want := range map[string]string{"base": "root1", "top": "root2", "c": "root23", "v": "root2"} {
				r, err := f.Root(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				for _, name := range []string{"passwd", "/a", "mine"} {
					data, err := r.ReadFile(name, 100)
					if err != nil && !errdefs.IsNotFound(err) {
						t.Error(err)
					}
					got += string(data)
				}
				if got != want {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
			info, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil || strings.Contains(string(info), f.dir) {
				t.Errorf("something is mounted, %v", err)
			}
		})
	}
}

// TestForgedOverlay: a layer's own trusted.overlay.* xattrs point nowhere (attack I19).
func TestForgedOverlay(t *testing.T) {
	f := newFixture(t, overlay.New())
	f.commit("base", "", map[string]string{"secret": "s"})
	m, err := f.Prepare(t.Context(), "x", "base")
	if err != nil {
		t.Fatal(err)
	}
	upper := ""
	for _, o := range m[0].Options {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			upper = dir
		}
	}
	if err := os.WriteFile(filepath.Join(upper, "forged"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"trusted.overlay.metacopy": "", "trusted.overlay.redirect": "/secret"} {
		if err := unix.Setxattr(filepath.Join(upper, "forged"), name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Commit(t.Context(), "top", "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Prepare(t.Context(), "c", "top"); err != nil {
		t.Fatal(err)
	}
	r, err := f.Root(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if data, err := r.ReadFile("forged", 100); err == nil && string(data) == "s" {
		t.Error("a forged redirect was followed")
	}
}

func BenchmarkPrepareRemove(b *testing.B) {
	f := newFixture(b, overlay.New())
	parent := ""
	for i := range 8 {
		name := fmt.Sprint("layer", i)
		f.commit(name, parent, map[string]string{"f": name})
		parent = name
	}
	for name, opts := range map[string][]snapshot.Option{"volatile": {snapshot.Volatile()}, "durable": nil} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := f.Prepare(context.Background(), "c", parent, opts...); err != nil {
					b.Fatal(err)
				}
				if err := f.Remove(context.Background(), "c"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("root", func(b *testing.B) {
		for b.Loop() {
			r, err := f.Root(context.Background(), parent)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.ReadFile("/f", 100); err != nil {
				b.Fatal(err)
			}
			_ = r.Close()
		}
	})
}

// What something is mounted over is there without being made in the snapshot; what the image has is seen as it is.
func TestPoints(t *testing.T) {
	f := newFixture(t, overlay.New())
	f.commit("image", "", map[string]string{"own": "image's"})
	points := func() {
		t.Helper()
		if err := f.Points("/dev/", "/etc/hosts", "/own"); err != nil {
			t.Fatal(err)
		}
	}
	points()
	look := func(key string, want map[string]string) {
		t.Helper()
		mounts, err := f.Mounts(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		d, err := rootfs.Detach(mounts, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		for name, text := range want {
			path := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
			got := "missing"
			if st, err := os.Stat(path); err == nil && st.IsDir() {
				got = "directory"
			} else if b, err := os.ReadFile(path); err == nil {
				got = string(b)
			}
			if got != text {
				t.Errorf("%s: %s is %q, want %q", key, name, got, text)
			}
		}
	}
	with := map[string]string{"dev": "directory", "etc": "directory", "etc/hosts": "", "own": "image's"}
	without := map[string]string{"dev": "missing", "etc": "missing", "own": "image's"}
	for key, opts := range map[string][]snapshot.Option{"container": {snapshot.WithPoints()}, "build": nil} {
		if _, err := f.Prepare(t.Context(), key, "image", opts...); err != nil {
			t.Fatal(err)
		}
	}
	look("container", with)
	look("build", without)
	if u, err := f.Usage(t.Context(), "container"); err != nil || u.Inodes != 1 {
		t.Errorf("the container's snapshot has %d inodes, %v; want its root alone", u.Inodes, err)
	}
	mounts, err := f.Mounts(t.Context(), "container")
	if err != nil {
		t.Fatal(err)
	}
	if found, err := rootfs.Changes(t.Context(), mounts, func(string) bool { return false }); err != nil || len(found) != 0 {
		t.Errorf("changes: %v, %v", found, err)
	}
	if problems, err := f.Audit(t.Context()); err != nil || len(problems) != 0 {
		t.Errorf("audit: %v, %v", problems, err)
	}
	f.close()
	f.open()
	points()
	look("container", with)
	// As a layer it has what was written alone.
	f.fill(mounts, map[string]string{"new": "written"})
	if err := f.Commit(t.Context(), "made", "container"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Prepare(t.Context(), "next", "made"); err != nil {
		t.Fatal(err)
	}
	look("next", map[string]string{"new": "written", "dev": "missing"})
}
