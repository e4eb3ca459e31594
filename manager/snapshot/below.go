package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// Overlay's marks in a layer (overlayfs.rst, "whiteouts and opaque directories").
const opaqueXattr = "trusted.overlay.opaque"

// Below says how what a view has at path is mounted, without mounting the view: the layers' own directories at that
// path make an overlay, as far down as no layer hides those below it.
//
//	layer 3   app/ (opaque)   ┐
//	layer 2   app/            │ hidden      app = layer 3's app alone
//	layer 1   app/            ┘ hidden
func (s *Store) Below(_ context.Context, key, path string) ([]mount.Mount, error) {
	if !filepath.IsLocal(path) {
		return nil, errdefs.InvalidArgument("path %q: must be relative and inside", path)
	}
	l, err := s.resolve(key)
	if err != nil {
		return nil, err
	}
	if l.Kind != View {
		return nil, errdefs.FailedPrecondition("snapshot %s: is %s: only a view has parts", key, l.Kind)
	}
	whole, err := s.driver.Mounts(l)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	if len(whole) != 1 {
		return nil, errdefs.NotImplemented("snapshot %s: %d mounts on top of each other", key, len(whole))
	}
	if s.driver.Name() == "erofs" {
		return nil, errdefs.NotImplemented("snapshot %s: a part of an image cannot be mounted with the snapshotter erofs: mount the whole image", key)
	}
	var layers []string
	if whole[0].Type == "bind" {
		layers = []string{whole[0].Source}
	} else {
		for _, p := range l.Parents {
			layers = append(layers, filepath.Join(p, Files))
		}
	}
	found, err := merged(layers, strings.Split(filepath.Clean(path), "/"))
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	switch len(found) {
	case 0:
		return nil, errdefs.InvalidArgument("path %q does not exist", path)
	case 1:
		return []mount.Mount{{Type: "bind", Source: found[0], Options: []string{"rbind", "ro"}}}, nil
	}
	for i, dir := range found {
		found[i] = strings.ReplaceAll(dir, ":", "\\:")
	}
	options := slices.DeleteFunc(slices.Clone(whole[0].Options), func(o string) bool { return strings.HasPrefix(o, "lowerdir=") })
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append([]string{"lowerdir=" + strings.Join(found, ":")}, options...)}}, nil
}

// merged are the places of the path in the layers, topmost first, that together make what is seen at it.
func merged(layers, path []string) ([]string, error) {
	var found []string
	for _, layer := range layers {
		dir, err := os.OpenRoot(layer)
		if err != nil {
			return nil, err
		}
		here, hides, err := inLayer(dir, path, len(found) == 0)
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		if here {
			found = append(found, filepath.Join(layer, filepath.Join(path...)))
		}
		if hides {
			break
		}
	}
	return found, nil
}

// inLayer tells whether a layer has the path, and whether it hides what the layers below have there. A file counts
// only in the topmost one.
func inLayer(layer *os.Root, path []string, topmost bool) (here, hides bool, err error) {
	for i := range path {
		name := filepath.Join(path[:i+1]...)
		st, err := layer.Lstat(name)
		if errors.Is(err, os.ErrNotExist) {
			return false, hides, nil
		}
		if err != nil {
			return false, false, err
		}
		last := i == len(path)-1
		switch {
		case st.Mode()&os.ModeSymlink != 0:
			return false, false, errdefs.InvalidArgument("path %q leads over the link %q: name the place itself", filepath.Join(path...), name)
		case st.Mode()&os.ModeCharDevice != 0: // a whiteout, 0:0; other devices are nobody's directory either
			return false, true, nil
		case !st.IsDir():
			return last && topmost, true, nil
		}
		opaque, err := isOpaque(layer, name)
		if err != nil {
			return false, false, err
		}
		hides = hides || opaque
	}
	return true, hides, nil
}

func isOpaque(layer *os.Root, name string) (bool, error) {
	f, err := layer.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	value := make([]byte, 4)
	n, err := unix.Fgetxattr(int(f.Fd()), opaqueXattr, value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil && string(value[:n]) == "y", err
}
