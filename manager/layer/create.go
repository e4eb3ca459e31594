package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Source is the tree that a layer is made of.
type Source struct {
	Dir string
	// Overlay: Dir is an overlay's upper directory, whose whiteouts and opaque directories become the layer's;
	// otherwise every file is the layer's own.
	Overlay bool
	Own     func(path string) bool // absolute paths that are left out while they are empty; nil: none
}

// Create writes a tree as an uncompressed layer to w. Entries are in the order of their names. What changes meanwhile
// is written as it was seen, never wider than announced; sockets are left out, as every engine does.
func Create(ctx context.Context, from Source, w io.Writer) (Result, error) {
	root, err := unix.Open(from.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("layer: open %s: %w", from.Dir, err)
	}
	defer func() { _ = unix.Close(root) }()
	count := &countHash{w: w, hash: sha256.New()}
	c := &creator{ctx: ctx, tar: tar.NewWriter(count), overlay: from.Overlay, own: from.Own, links: map[inode]string{}, buf: make([]byte, 1<<20)}
	if err := c.directory(root, ""); err != nil {
		return Result{}, err
	}
	if err := c.tar.Close(); err != nil {
		return Result{}, fmt.Errorf("layer: %w", err)
	}
	return Result{DiffID: digest.NewDigest(digest.SHA256, count.hash), Size: count.n, Files: c.files, Entries: c.entries}, nil
}

type countHash struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (c *countHash) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	_, _ = c.hash.Write(p[:n])
	c.n += int64(n)
	return n, err
}

type inode struct{ dev, ino uint64 }

// creator walks by descriptors: a container that runs meanwhile may swap any name for a link (attack I16).
type creator struct {
	ctx     context.Context
	tar     *tar.Writer
	overlay bool
	own     func(path string) bool
	mount   uint64 // the only mount whose files are written, others' roots being left empty; 0: all
	links   map[inode]string
	buf     []byte
	entries int64
	files   int64
}

// directory writes what is in the open directory fd, whose name is rel.
func (c *creator) directory(fd int, rel string) error {
	names, dir, err := listDir(fd, ".")
	if err != nil {
		return entryError(rel, err)
	}
	defer func() { _ = unix.Close(dir) }()
	slices.Sort(names)
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		err := c.entry(dir, name, path.Join(rel, name))
		if errors.Is(err, unix.ENOENT) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *creator) entry(dir int, base, rel string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return entryError(rel, err)
	}
	if c.overlay && isWhiteout(&st) {
		return c.header(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(path.Dir(rel), whiteoutPrefix+base), Mode: 0o600, ModTime: time.Unix(0, 0)})
	}
	if c.own != nil && c.own("/"+rel) && isEmpty(dir, base, &st) {
		return nil
	}
	h := headerOf(&st, rel)
	if c.mount != 0 && mountID(dir, base) != c.mount {
		return c.mountPoint(h, &st)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subdirectory(dir, base, h)
	case unix.S_IFREG:
		return c.regular(dir, base, h)
	case unix.S_IFLNK:
		n, err := unix.Readlinkat(dir, base, c.buf[:maxName])
		if err != nil {
			return entryError(rel, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(c.buf[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil
	}
	return c.header(h)
}

// isEmpty tells whether a name is a file of no bytes or a directory of no entries.
func isEmpty(dir int, base string, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return st.Size == 0
	case unix.S_IFDIR:
		names, fd, err := listDir(dir, base)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err == nil && len(names) == 0
	}
	return false
}

func headerOf(st *unix.Stat_t, rel string) *tar.Header {
	return &tar.Header{
		Name: rel, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
}

func (c *creator) header(h *tar.Header) error {
	c.entries++
	if err := c.tar.WriteHeader(h); err != nil {
		return entryError(h.Name, err)
	}
	return nil
}

func (c *creator) subdirectory(dir int, base string, h *tar.Header) error {
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return entryError(h.Name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	rel := h.Name
	h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(rel, "/")+"/"
	if err := c.xattrs(fd, h); err != nil {
		return entryError(rel, err)
	}
	if rel != "" {
		if err := c.header(h); err != nil {
			return err
		}
	}
	if c.overlay && isOpaque(fd) {
		if err := c.header(&tar.Header{Typeflag: tar.TypeReg, Name: rel + "/" + whiteoutPrefix + opaqueName, Mode: 0o600, ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
	}
	return c.directory(fd, rel)
}

func isOpaque(fd int) bool {
	var value [1]byte
	n, err := unix.Fgetxattr(fd, opaqueXattr, value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

func (c *creator) xattrs(fd int, h *tar.Header) error {
	found, err := listXattrs(fd)
	if err != nil {
		return err
	}
	for name, value := range found {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = value
	}
	return nil
}

// regular writes a file, or a link to the name under which its inode was written before.
func (c *creator) regular(dir int, base string, h *tar.Header) error {
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return entryError(h.Name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return entryError(h.Name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // swapped meanwhile
	}
	h = headerOf(&st, h.Name)
	h.Typeflag = tar.TypeReg
	if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 {
		if first, seen := c.links[id]; seen {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return c.header(h)
		}
		c.links[id] = h.Name
	}
	if err := c.xattrs(fd, h); err != nil {
		return entryError(h.Name, err)
	}
	h.Size = st.Size
	c.files += st.Size
	if err := c.header(h); err != nil {
		return err
	}
	return c.body(fd, h)
}

// body copies exactly the announced bytes: a file that grows is cut, one that shrinks is filled with zeros.
func (c *creator) body(fd int, h *tar.Header) error {
	for left := h.Size; left > 0; {
		part := c.buf[:min(left, int64(len(c.buf)))]
		n, err := unix.Read(fd, part)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return entryError(h.Name, err)
		case n == 0:
			clear(part)
			n = len(part)
		}
		if _, err := c.tar.Write(part[:n]); err != nil {
			return entryError(h.Name, err)
		}
		left -= int64(n)
	}
	return nil
}
