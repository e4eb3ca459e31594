package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

// inRoot confines the resolution of a path to the directory that it starts from: ".." and absolute links end there,
// and neither /proc's magic links nor mounts are crossed (openat2(2)).
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// tree is the directory being filled. It keeps the last parent directory open, since archives go directory by
// directory; a stale one (replaced by a later entry) still lies inside, or is unlinked, so it is never a way out.
type tree struct {
	root    int
	base    string // clean name of the directory below root that the archive's names start from; "" for root
	into    *Into  // nil for a layer
	resolve uint64 // openat2's, of every lookup
	lower   []int
	later   func() ([]string, error) // opens lower; nil when that is done
	overlay bool
	fresh   bool
	limits  Limits

	parentPath string
	parentFD   int

	dirs      map[string]attrs // given to directories at the end, when nothing is written into them any more
	dirMemory int64
	unpacked  map[string]struct{} // without overlay: what this layer brought, which its own whiteouts spare
	entries   int64
	logical   int64
	buf       []byte
}

// buffers are the copy buffers of trees.
var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<18); return &b }}

func openTree(target Target, limits Limits) (*tree, error) {
	t := &tree{
		root: -1, parentFD: -1, resolve: inRoot, overlay: target.Overlay, fresh: target.Base, limits: limits,
		dirs: map[string]attrs{}, buf: *buffers.Get().(*[]byte),
	}
	if !t.overlay && !t.fresh {
		t.unpacked = map[string]struct{}{}
	}
	var err error
	if t.root, err = openDir(target.Dir); err != nil {
		return nil, err
	}
	if t.later = target.Below; t.later == nil {
		t.later = func() ([]string, error) { return target.Lower, nil }
	}
	return t, nil
}

// below opens the directories of the parent layers, nearest first.
func (t *tree) below() ([]int, error) {
	later := t.later
	if t.later = nil; later == nil {
		return t.lower, nil
	}
	dirs, err := later()
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		fd, err := mount.OpenLayer(dir)
		if err != nil {
			return nil, fmt.Errorf("layer: open %s: %w", dir, err)
		}
		t.lower = append(t.lower, fd)
	}
	return t.lower, nil
}

func openDir(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("layer: open %s: %w", dir, err)
	}
	return fd, nil
}

func (t *tree) close() {
	t.forgetParent()
	buffers.Put(&t.buf)
	for _, fd := range append(t.lower, t.root) {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func (t *tree) forgetParent() {
	if t.parentFD >= 0 {
		_ = unix.Close(t.parentFD)
	}
	t.parentFD, t.parentPath = -1, ""
}

// cleanName turns an entry's name into a path relative to the root, "" for the root itself. Names that climb out of
// the root are refused rather than bent: nobody writes them in good faith.
func cleanName(name string) (string, error) {
	if len(name) > maxName {
		return "", errdefs.InvalidArgument("layer: a name of %d bytes is longer than Linux allows (%d)", len(name), maxName)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", errdefs.InvalidArgument("layer: name %q holds a NUL byte", name)
	}
	rel := path.Clean(strings.TrimLeft(name, "/"))
	if rel == ".." || strings.HasPrefix(rel, "../") {
		return "", errdefs.InvalidArgument("layer: name %q leads out of the image", name)
	}
	if rel == "." {
		return "", nil
	}
	return rel, nil
}

// splitName cuts a clean name into its parent ("" for the root) and its last element.
func splitName(rel string) (dir, base string) {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i], rel[i+1:]
	}
	return "", rel
}

// openIn opens rel inside dirfd's tree; interrupted resolutions (EAGAIN: a rename elsewhere) are tried again.
func openIn(dirfd int, rel string, flags int, resolve uint64) (int, error) {
	if rel == "" {
		rel = "."
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for range 64 {
		fd, err := unix.Openat2(dirfd, rel, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// parent opens the directory dir for making entries in it, and makes it when the layer did not name it before. The
// descriptor belongs to the tree.
func (t *tree) parent(dir string) (int, error) {
	if dir == "" {
		return t.root, nil
	}
	if t.parentFD >= 0 && t.parentPath == dir {
		return t.parentFD, nil
	}
	fd, err := openIn(t.root, dir, unix.O_PATH|unix.O_DIRECTORY, t.resolve)
	if errors.Is(err, unix.ENOENT) {
		fd, err = t.makeParents(dir)
	}
	if err != nil {
		return -1, errdefs.With(classOf(err), fmt.Errorf("parent directory %q: %w", dir, err))
	}
	t.forgetParent()
	t.parentFD, t.parentPath = fd, dir
	return fd, nil
}

// makeParents makes the missing part of dir, to which finishDirs gives the owners and modes of the layers below.
func (t *tree) makeParents(dir string) (int, error) {
	fd, err := unix.Dup(t.root)
	if err != nil {
		return -1, err
	}
	for end := 0; end < len(dir); end++ {
		if i := strings.IndexByte(dir[end:], '/'); i >= 0 {
			end += i
		} else {
			end = len(dir)
		}
		prefix := dir[:end]
		next, err := openIn(t.root, prefix, unix.O_PATH|unix.O_DIRECTORY, t.resolve)
		if errors.Is(err, unix.ENOENT) {
			next, err = t.makeImplied(fd, prefix)
		}
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func (t *tree) makeImplied(parent int, rel string) (int, error) {
	_, base := splitName(rel)
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return -1, err // EEXIST here is a link that leads nowhere
	}
	if err := t.deferAttrs(rel, attrs{implied: true}); err != nil {
		return -1, err
	}
	return unix.Openat(parent, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// lowerAttrs, which comes after below, are those of directory rel in the nearest lower layer that has it, or 0755 root:root.
func (t *tree) lowerAttrs(rel string) attrs {
	for _, lower := range t.lower {
		fd, err := openIn(lower, rel, unix.O_RDONLY|unix.O_DIRECTORY, t.resolve|unix.RESOLVE_NO_SYMLINKS)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			break // a file, link or whiteout: the directory is new
		}
		a, err := readAttrs(fd)
		_ = unix.Close(fd)
		if err == nil {
			return a
		}
		break
	}
	return attrs{mode: 0o755}
}

// deferAttrs keeps what directory rel is to get at the end.
func (t *tree) deferAttrs(rel string, a attrs) error {
	if _, known := t.dirs[rel]; !known {
		t.dirMemory += int64(len(rel)) + 160
		if t.dirMemory > t.limits.DirMemory {
			return errdefs.InvalidArgument("layer: too many directories: their names take more than %d bytes", t.limits.DirMemory)
		}
	}
	t.dirs[rel] = a
	return nil
}

// finishDirs gives all directories their modes, owners and times.
func (t *tree) finishDirs() error {
	if _, err := t.below(); err != nil {
		return err
	}
	for rel, a := range t.dirs {
		if a.implied {
			a = t.lowerAttrs(rel)
		}
		fd, err := openIn(t.root, rel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, t.resolve)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // replaced or deleted by a later entry
		}
		if err != nil {
			return entryError(rel, err)
		}
		err = a.apply(fd)
		_ = unix.Close(fd)
		if err != nil {
			return entryError(rel, err)
		}
	}
	return nil
}

// remove deletes what is called base in parent, with everything below; nothing there is fine.
func (t *tree) remove(parent int, base string) error {
	t.dropCachedBelow()
	return removeAll(parent, base)
}

// dropCachedBelow forgets the cached parent unless it is being used as the parent right now.
func (t *tree) dropCachedBelow() { t.parentPath = "\x00" } // matches no clean name; the descriptor stays open

func removeAll(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	err = unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return err
	}
	names, fd, err := listDir(parent, base)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, name := range names {
		if err := removeAll(fd, name); err != nil {
			return err
		}
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

// listDir opens directory base of parent, without following a link, and lists it. The caller closes the descriptor.
func listDir(parent int, base string) ([]string, int, error) {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, err
	}
	dup, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(fd)
		return nil, -1, err
	}
	f := os.NewFile(uintptr(dup), base)
	names, err := f.Readdirnames(-1)
	_ = f.Close()
	if err != nil {
		_ = unix.Close(fd)
		return nil, -1, err
	}
	return names, fd, nil
}

// classOf tells the archive's faults from the machine's: a disk that is full is not the image's.
func classOf(err error) errdefs.Class {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errdefs.ErrResourceExhausted
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EEXIST), errors.Is(err, unix.EXDEV),
		errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EISDIR),
		errors.Is(err, tar.ErrHeader):
		return errdefs.ErrInvalidArgument
	}
	return errdefs.Of(err)
}

func entryError(name string, err error) error {
	return errdefs.With(classOf(err), fmt.Errorf("layer: entry %q: %w", name, err))
}
