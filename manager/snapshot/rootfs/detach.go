// Package rootfs looks into, copies and removes root file systems from outside of any container: by descriptors and
// openat2(2), without a mount in the host's mount table, and never through a path that an image could bend.
package rootfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// Detach mounts what a snapshotter returned, one bind or overlay mount, with these further mount attributes
// (MOUNT_ATTR_RDONLY, ...), attached nowhere: closing the file undoes it. The file is an O_PATH one.
//
// It works in the daemon's own mount namespace, so nothing may be attached there.
func Detach(mounts []mount.Mount, attrs uint64) (*os.File, error) {
	if len(mounts) != 1 {
		return nil, errdefs.NotImplemented("%d mounts on top of each other are not supported here", len(mounts))
	}
	m := mounts[0]
	o := mount.Parse(m.Options)
	o.Attr.Set |= attrs
	var t mount.Tree
	var err error
	switch m.Type {
	case "overlay":
		t, err = mount.DetachedOverlay(o)
	case "bind":
		t, err = bind(m.Source, o)
	case "erofs":
		t, err = image(m.Source, o)
	default:
		return nil, errdefs.NotImplemented("mount type %q is not supported here", m.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", m.Type, err)
	}
	return os.NewFile(uintptr(t), "rootfs"), nil
}

func bind(source string, o mount.Options) (mount.Tree, error) {
	t, err := mount.Clone(unix.AT_FDCWD, source, false)
	if err != nil {
		return -1, err
	}
	if err := t.SetAttr(o.Attr, false); err != nil {
		t.Close()
		return -1, fmt.Errorf("%s: %w", source, err)
	}
	return t, nil
}

func image(source string, o mount.Options) (mount.Tree, error) {
	t, err := mount.EROFS(source)
	if err != nil {
		return -1, err
	}
	if err := t.SetAttr(o.Attr, false); err != nil {
		t.Close()
		return -1, fmt.Errorf("%s: %w", source, err)
	}
	return t, nil
}
