package rootfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/safepath"
)

// ChangeKind is what became of a name.
type ChangeKind int

// The kinds, numbered as the Docker API numbers them.
const (
	Modified ChangeKind = iota
	Added
	Deleted
)

// Change is one name that differs from the image.
type Change struct {
	Path string // absolute, in the container
	Kind ChangeKind
}

// Changes lists what a container's snapshot has other than its parents, in the order of the paths: each file that was
// made, written or deleted, and as modified each directory on the way to one. Names for which own is true are left
// out as long as they are empty: mount points and the like that the engine itself made.
func Changes(ctx context.Context, mounts []mount.Mount, own func(path string) bool) ([]Change, error) {
	upper, lower, err := layersOf(mounts)
	if err != nil {
		return nil, err
	}
	c := &changes{ctx: ctx, own: own}
	defer c.close()
	top, err := c.open(upper)
	if err != nil {
		return nil, err
	}
	for _, dir := range lower {
		l, err := mount.OpenLayer(dir)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
		}
		c.fds = append(c.fds, l)
		c.lower = append(c.lower, safepath.At(l))
	}
	if _, err := c.directory(top, "/", false); err != nil {
		return nil, err
	}
	slices.SortFunc(c.found, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return c.found, nil
}

// layersOf finds the snapshot's own directory and those of its parents, nearest first.
func layersOf(mounts []mount.Mount) (upper string, lower []string, err error) {
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return "", nil, errdefs.NotImplemented("changes are only known with the overlay snapshotter: this data root copies its layers")
	}
	for _, o := range mounts[0].Options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "upperdir":
			upper = value
		case "lowerdir":
			if lower, err = mount.SplitLayers(value); err != nil {
				return "", nil, err
			}
		case "lowerdir+":
			lower = append(lower, value)
		}
	}
	if upper == "" {
		return "", nil, errdefs.InvalidArgument("the snapshot cannot be written to and has no changes")
	}
	return upper, lower, nil
}

type changes struct {
	ctx   context.Context
	own   func(string) bool
	lower []safepath.Root
	fds   []int
	found []Change
}

func (c *changes) open(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	c.fds = append(c.fds, fd)
	return fd, nil
}

func (c *changes) close() {
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
}

// directory looks at what the upper directory at holds; it tells whether any of it counts. Below an opaque one
// nothing of the image is seen.
func (c *changes) directory(fd int, at string, opaque bool) (bool, error) {
	if err := c.ctx.Err(); err != nil {
		return false, err
	}
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	list := os.NewFile(uintptr(dir), at)
	defer func() { _ = list.Close() }()
	names, err := list.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	opaque = opaque || isOpaque(dir)
	any := false
	for _, name := range names {
		counts, err := c.entry(dir, name, path.Join(at, name), opaque)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, &fs.PathError{Op: "diff", Path: path.Join(at, name), Err: err}
		}
		any = any || counts
	}
	return any, nil
}

func isOpaque(fd int) bool {
	var value [1]byte
	n, err := unix.Fgetxattr(fd, "trusted.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

func (c *changes) entry(dir int, name, at string, opaque bool) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	var below *unix.Stat_t
	if !opaque {
		below = c.below(at)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFCHR && st.Rdev == 0: // overlayfs' whiteout
		if below != nil {
			c.add(at, Deleted)
		}
		return below != nil, nil
	case kind == unix.S_IFDIR:
		return c.subdirectory(dir, name, at, &st, below, opaque)
	case below != nil:
		c.add(at, Modified)
	case c.own(at) && st.Size == 0:
		return false, nil
	default:
		c.add(at, Added)
	}
	return true, nil
}

// subdirectory: one that the image has counts when something in it does or its attributes changed.
func (c *changes) subdirectory(dir int, name, at string, st, below *unix.Stat_t, opaque bool) (bool, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	merged := below != nil && below.Mode&unix.S_IFMT == unix.S_IFDIR
	inside, err := c.directory(fd, at, opaque || !merged)
	switch {
	case err != nil:
		return false, err
	case below == nil && (inside || !c.own(at)):
		c.add(at, Added)
	case below == nil:
		return false, nil
	case inside || !merged || isOpaque(fd) || below.Mode != st.Mode || below.Uid != st.Uid || below.Gid != st.Gid:
		c.add(at, Modified)
	default:
		return false, nil
	}
	return true, nil
}

func (c *changes) add(at string, kind ChangeKind) {
	c.found = append(c.found, Change{Path: at, Kind: kind})
}

// below is what the image has at a path: that of the nearest layer which says something of it, nil for nothing. The
// layers' own opaque marks and whiteouts are seen on the way.
func (c *changes) below(at string) *unix.Stat_t {
	for _, layer := range c.lower {
		st, hidden := lookup(layer, at)
		if st != nil || hidden {
			return st
		}
	}
	return nil
}

// lookup finds a path in one layer; hidden says that the layer hides what the ones below have there.
func lookup(layer safepath.Root, at string) (st *unix.Stat_t, hidden bool) {
	for i := 1; i <= len(at); i++ {
		if i < len(at) && at[i] != '/' {
			continue
		}
		fd, err := layer.OpenPlain(at[:i], unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return nil, !errors.Is(err, unix.ENOENT)
		}
		var s unix.Stat_t
		err = unix.Fstat(fd, &s)
		_ = unix.Close(fd)
		switch kind := s.Mode & unix.S_IFMT; {
		case err != nil || kind == unix.S_IFCHR && s.Rdev == 0:
			return nil, true
		case i == len(at):
			return &s, true
		case kind != unix.S_IFDIR:
			return nil, true
		}
		if dir, err := layer.OpenPlain(at[:i], unix.O_RDONLY|unix.O_DIRECTORY); err == nil {
			hidden = hidden || isOpaque(dir)
			_ = unix.Close(dir)
		}
	}
	return nil, hidden
}
