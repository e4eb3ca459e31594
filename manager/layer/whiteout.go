package layer

import (
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Whiteouts of the OCI image spec (layer.md): ".wh.NAME" deletes NAME of the layers below, ".wh..wh.opq" everything
// that they have in the directory; other names with ".wh..wh." are aufs' own files, which nobody means.
const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..opq" // what follows whiteoutPrefix
	opaqueXattr    = "trusted.overlay.opaque"
)

// whiteout applies the marker for name (the entry's without its prefix) in directory dir, open as parent.
func (t *tree) whiteout(parent int, dir, name string) error {
	switch {
	case name == opaqueName:
		return t.opaque(parent, dir)
	case len(name) >= len(whiteoutPrefix) && name[:len(whiteoutPrefix)] == whiteoutPrefix:
		return nil
	case name == "" || name == "." || name == "..":
		return errdefs.InvalidArgument("whiteout of %q deletes nothing that can be named", name)
	}
	if t.fresh {
		return nil
	}
	if !t.overlay {
		return t.deleteLower(parent, path.Join(dir, name))
	}
	err := unix.Mknodat(parent, name, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// The layer has the name itself: it hides a file below by itself; a directory must not be merged with one.
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return setOpaque(parent, name)
	}
	return nil
}

// opaque hides what the layers below have in dir.
func (t *tree) opaque(parent int, dir string) error {
	if t.fresh {
		return nil
	}
	if t.overlay {
		return setOpaque(parent, ".")
	}
	names, fd, err := listDir(parent, ".")
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, name := range names {
		if err := t.deleteLower(parent, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// deleteLower deletes rel, whose directory is open as parent, except for what this layer itself brought.
func (t *tree) deleteLower(parent int, rel string) error {
	_, base := splitName(rel)
	if _, own := t.unpacked[rel]; !own {
		return t.remove(parent, base)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return err
	}
	names, fd, err := listDir(parent, base)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, name := range names {
		if err := t.deleteLower(fd, path.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

func setOpaque(parent int, base string) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0)
}

// isWhiteout tells overlayfs' marker of a deleted name: a character device 0:0.
func isWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }
