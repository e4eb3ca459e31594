package mount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/namespace"
)

// The three ways of making an overlay, on kernels of any age, show the same tree.
func TestOverlayWays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "conex-overlay-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, d := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, d, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Data: []string{"lowerdir=" + dir + "/a:" + dir + "/b"}}
	ways := map[string]func() (Tree, error){
		"layer by layer": func() (Tree, error) { return overlay(o, layerwise) },
		"one string":     func() (Tree, error) { return overlay(o, whole) },
		"mount(2)":       func() (Tree, error) { return stacked(o) },
	}
	for name, way := range ways {
		err := namespace.Throwaway(func() error {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := SetPropagationAt("/", unix.MS_PRIVATE, true); err != nil {
				return err
			}
			tree, err := way()
			if err != nil {
				return err
			}
			defer tree.Close()
			for _, d := range []string{"a", "b"} {
				var st unix.Stat_t
				if err := unix.Fstatat(int(tree), d, &st, 0); err != nil {
					return err
				}
			}
			return nil
		})
		if name == "layer by layer" && errors.Is(err, unix.EINVAL) {
			t.Log("this kernel takes no single layers (Linux 6.8 does)")
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
