// Package rootfs looks into, copies and removes root file systems from outside of any container: by descriptors and
// openat2(2), without a mount in the host's mount table, and never through a path that an image could bend.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// maxOption is how long a value fsconfig(2) takes; longer paths go by descriptor (Linux 6.13).
const maxOption = 255

// Detach mounts what a snapshotter returned, one bind or overlay mount, with these further mount attributes
// (MOUNT_ATTR_RDONLY, ...), attached nowhere: closing the file undoes it. The file is an O_PATH one.
//
// It works in the daemon's own mount namespace, so unlike mount.Overlay it has no last resort that attaches.
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
		t, err = overlay(o)
	case "bind":
		t, err = bind(m.Source, o)
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

func overlay(o mount.Options) (mount.Tree, error) {
	c, err := mount.Open("overlay")
	if err != nil {
		return -1, err
	}
	defer c.Close()
	for _, option := range o.Data {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "lowerdir":
			err = layers(c, value)
		case "upperdir", "workdir":
			err = directory(c, key, value)
		default:
			err = c.Set(option)
		}
		if err != nil {
			return -1, err
		}
	}
	return c.Create(o.Attr.Set)
}

// layers gives the lower directories one by one, base last ("lowerdir+", Linux 6.8), since the one-string form ends
// after a few of them; an older kernel gets that form.
func layers(c mount.Context, value string) error {
	dirs, err := mount.SplitLayers(value)
	if err != nil {
		return err
	}
	for i, dir := range dirs {
		err := directory(c, "lowerdir+", dir)
		if i == 0 && errors.Is(err, unix.EINVAL) {
			return c.Set("lowerdir=" + value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func directory(c mount.Context, key, path string) error {
	if len(path) <= maxOption {
		return c.Set(key + "=" + path)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("%s %s: %w", key, path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	return c.SetFD(key, fd)
}
