package snapshot_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/native"
	"github.com/conex-containers/conex/manager/snapshot/overlay"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// layered commits four layers that add, hide, replace and make opaque, and views the last.
func layered(t *testing.T, f *fixture) {
	t.Helper()
	ctx := context.Background()
	parent := ""
	for i, change := range []func(dir string) error{
		func(dir string) error {
			for _, name := range []string{"a/deep/one", "a/gone", "opaque/old", "file", "was/dir/x", "turned"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
					return err
				}
			}
			return os.Symlink("a", filepath.Join(dir, "link"))
		},
		func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a/deep/two"), []byte("2"), 0o644)
		},
		func(dir string) error {
			for _, name := range []string{"a/gone", "opaque", "was", "turned"} {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("new"), 0o644); err != nil {
				return err
			}
			for _, name := range []string{"opaque", "turned/into"} {
				if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
					return err
				}
			}
			return os.WriteFile(filepath.Join(dir, "opaque/fresh"), []byte("f"), 0o644)
		},
		func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "a/deep/three"), []byte("3"), 0o644)
		},
	} {
		key := fmt.Sprintf("work%d", i)
		mounts, err := f.Prepare(ctx, key, parent)
		if err != nil {
			t.Fatal(err)
		}
		inside(t, mounts, change)
		parent = fmt.Sprintf("layer%d", i)
		if err := f.Commit(ctx, parent, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.View(ctx, "view", parent); err != nil {
		t.Fatal(err)
	}
}

// inside runs do with the path of the mounts' detached tree.
func inside(t *testing.T, mounts []mount.Mount, do func(dir string) error) {
	t.Helper()
	tree, err := rootfs.Detach(mounts, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tree.Close() }()
	if err := do(fmt.Sprintf("/proc/self/fd/%d/.", tree.Fd())); err != nil {
		t.Fatal(err)
	}
}

// listing is what a tree shows below dir, names and contents.
func listing(t *testing.T, mounts []mount.Mount, below string) []string {
	t.Helper()
	var out []string
	inside(t, mounts, func(dir string) error {
		top := filepath.Join(dir, below)
		return filepath.WalkDir(top+"/.", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			line := strings.TrimPrefix(path, top)
			if d.Type().IsRegular() {
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				line += "=" + string(b)
			}
			out = append(out, line)
			return nil
		})
	})
	return out
}

// A part of a view shows what the kernel shows at that place of the whole.
func TestBelow(t *testing.T) {
	for _, driver := range []snapshot.Driver{overlay.New(), native.New()} {
		t.Run(driver.Name(), func(t *testing.T) {
			f := newFixture(t, driver)
			layered(t, f)
			ctx := context.Background()
			whole, err := f.Mounts(ctx, "view")
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"a", "a/deep", "opaque", "turned", "turned/into", "a/./deep/"} {
				part, err := f.Below(ctx, "view", path)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				if got, want := listing(t, part, ""), listing(t, whole, path); !slices.Equal(got, want) {
					t.Errorf("%s: %v, want %v", path, got, want)
				}
			}
			file, err := f.Below(ctx, "view", "file")
			if err != nil || len(file) != 1 || file[0].Type != "bind" {
				t.Fatalf("file: %v %v", file, err)
			}
			if b, err := os.ReadFile(file[0].Source); err != nil || string(b) != "new" {
				t.Errorf("file: %q %v", b, err)
			}
			for _, path := range []string{"a/gone", "was/dir", "opaque/old", "link", "link/deep", "file/x", "nothing", "../a", "/a", "a/../../x"} {
				if part, err := f.Below(ctx, "view", path); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
					t.Errorf("%s: %v %v", path, part, err)
				}
			}
			if _, err := f.Below(ctx, "layer0", "a"); !errdefs.Is(err, errdefs.ErrFailedPrecondition) {
				t.Errorf("a committed snapshot: %v", err)
			}
		})
	}
}
