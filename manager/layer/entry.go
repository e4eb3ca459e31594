package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// unpack applies all entries of the archive in order.
func (t *tree) unpack(ctx context.Context, r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return archiveError(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if t.entries++; t.entries > t.limits.Entries {
			return errdefs.InvalidArgument("layer: more than %d entries, which is the limit", t.limits.Entries)
		}
		if err := t.entry(h, tr); err != nil {
			return entryError(h.Name, err)
		}
	}
	return t.finishDirs()
}

// archiveError tells a broken archive from a broken source.
func archiveError(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
		return errdefs.InvalidArgument("layer: not a whole tar archive: %w", err)
	}
	return fmt.Errorf("layer: %w", err)
}

// entry applies one entry.
func (t *tree) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return checkGlobal(h)
	}
	rel, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	a, err := headerAttrs(h)
	if err != nil {
		return err
	}
	if t.into != nil {
		return t.extract(h, rel, a, body)
	}
	if rel == "" {
		if h.Typeflag != tar.TypeDir {
			return errdefs.InvalidArgument("the root of the image must be a directory")
		}
		return t.deferAttrs("", a)
	}
	dir, base := splitName(rel)
	parent, err := t.parent(dir)
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return t.whiteout(parent, dir, name)
	}
	t.brought(rel)
	return t.make(parent, rel, h, a, body)
}

// checkGlobal lets comments of `git archive` and the like pass. What a global header says of the entries after it, some
// readers of archives heed and others, Go's among them, do not: two readers would see two trees.
func checkGlobal(h *tar.Header) error {
	for key := range h.PAXRecords {
		if key != "comment" {
			return errdefs.InvalidArgument("a global header that sets %.80q for the entries after it is not supported", key)
		}
	}
	return nil
}

// make makes what an entry describes, in its open parent directory.
func (t *tree) make(parent int, rel string, h *tar.Header, a attrs, body io.Reader) (err error) {
	_, base := splitName(rel)
	switch h.Typeflag {
	case tar.TypeDir:
		return t.directory(parent, rel, a)
	case tar.TypeReg, tar.TypeGNUSparse, '\x00', '7': // '7': contiguous, which is regular everywhere
		return t.regular(parent, base, h, a, body)
	case tar.TypeLink:
		return t.hardLink(parent, base, h.Linkname)
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) >= maxName {
			return errdefs.InvalidArgument("symbolic link with a target of %d bytes", len(h.Linkname))
		}
		err = t.place(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
	case tar.TypeChar:
		err = t.node(parent, base, unix.S_IFCHR, h)
	case tar.TypeBlock:
		err = t.node(parent, base, unix.S_IFBLK, h)
	case tar.TypeFifo:
		err = t.node(parent, base, unix.S_IFIFO, h)
	default:
		return errdefs.InvalidArgument("type %q is not known", string(h.Typeflag))
	}
	if err != nil {
		return err
	}
	return a.applyAt(parent, base, h.Typeflag == tar.TypeSymlink)
}

// brought notes, where whiteouts delete, that rel and the directories above it are this layer's own.
func (t *tree) brought(rel string) {
	for t.unpacked != nil && rel != "" {
		if _, known := t.unpacked[rel]; known {
			return
		}
		t.unpacked[rel] = struct{}{}
		rel, _ = splitName(rel)
	}
}

// place runs create, and when something of that name is there already, deletes it and runs create again: the later
// entry wins, and is never written through what the earlier one was (a link, a hard link).
func (t *tree) place(parent int, base string, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := t.remove(parent, base); err != nil {
		return err
	}
	return create()
}

func (t *tree) node(parent int, base string, kind uint32, h *tar.Header) error {
	if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 0xfff || h.Devminor > 0xfffff {
		return errdefs.InvalidArgument("device number %d:%d is out of range", h.Devmajor, h.Devminor)
	}
	dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	return t.place(parent, base, func() error { return unix.Mknodat(parent, base, kind|0o600, int(dev)) })
}

// directory makes rel or, when it is one already, gives it the entry's attributes.
func (t *tree) directory(parent int, rel string, a attrs) error {
	_, base := splitName(rel)
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return t.deferAttrs(rel, a)
		}
		if err := t.remove(parent, base); err != nil {
			return err
		}
		err = unix.Mkdirat(parent, base, 0o700)
		if err == nil && isWhiteout(&st) {
			err = setOpaque(parent, base) // deleted below and made anew: the parents' content stays hidden
		}
	}
	if err != nil {
		return err
	}
	return t.deferAttrs(rel, a)
}

// regular writes a file that is always a new inode.
func (t *tree) regular(parent int, base string, h *tar.Header, a attrs, body io.Reader) error {
	if t.logical += h.Size; t.logical > t.limits.Bytes {
		return errdefs.InvalidArgument("the layer's files are larger than %d bytes, which is the limit", t.limits.Bytes)
	}
	fd := -1
	err := t.place(parent, base, func() (err error) {
		fd, err = unix.Openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	if isSparse(h) {
		err = t.copySparse(fd, body, h.Size)
	} else {
		err = t.copyBody(fd, body, h.Size)
	}
	if err == nil {
		err = a.applyNew(fd, t.unpacked == nil)
	}
	if e := unix.Close(fd); err == nil {
		err = e
	}
	return err
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (t *tree) copyBody(fd int, body io.Reader, size int64) error {
	for size > 0 {
		want := t.buf[:min(size, int64(len(t.buf)))]
		n, err := io.ReadFull(body, want)
		if werr := writeAll(fd, want[:n]); werr != nil {
			return werr
		}
		if err != nil {
			return archiveError(err)
		}
		size -= int64(n)
	}
	return nil
}

// copySparse leaves holes where the archive has them: blocks of zeros are not written.
func (t *tree) copySparse(fd int, body io.Reader, size int64) error {
	const block = 64 << 10
	for off := int64(0); off < size; {
		part := t.buf[:min(size-off, block)]
		n, err := io.ReadFull(body, part)
		if err != nil {
			return archiveError(err)
		}
		if !allZero(part) {
			if _, err := unix.Seek(fd, off, io.SeekStart); err != nil {
				return err
			}
			if err := writeAll(fd, part); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return unix.Ftruncate(fd, size)
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// hardLink links base to target, which is a name in the image, absolute or not. The link itself never follows a
// symbolic link (CVE-2026-17106's class); a target that only a lower layer has is copied up first.
func (t *tree) hardLink(parent int, base, target string) error {
	rel, err := cleanName(target)
	if err != nil {
		return err
	}
	if rel == "" {
		return errdefs.InvalidArgument("hard link to the root of the image")
	}
	dir, name := splitName(path.Join(t.base, rel))
	from, err := openIn(t.root, dir, unix.O_PATH|unix.O_DIRECTORY, t.resolve)
	if errors.Is(err, unix.ENOENT) {
		var lower []int
		if lower, err = t.below(); err == nil && len(lower) > 0 {
			from, err = t.makeParents(dir)
		} else if err == nil {
			err = unix.ENOENT
		}
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	defer func() { _ = unix.Close(from) }()
	link := func() error { return unix.Linkat(from, name, parent, base, 0) }
	err = t.place(parent, base, link)
	if errors.Is(err, unix.ENOENT) {
		if err = t.copyUp(from, rel); err == nil {
			err = t.place(parent, base, link)
		}
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	return nil
}

// copyUp brings the regular file rel from the nearest lower layer into the open directory dir.
func (t *tree) copyUp(dir int, rel string) error {
	_, base := splitName(rel)
	below, err := t.below()
	if err != nil {
		return err
	}
	for _, lower := range below {
		fd, err := openIn(lower, rel, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, t.resolve)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		err = t.copyFrom(fd, dir, base)
		_ = unix.Close(fd)
		return err
	}
	return unix.ENOENT
}

func (t *tree) copyFrom(fd, dir int, base string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EINVAL
	}
	a, err := readAttrs(fd)
	if err != nil {
		return err
	}
	out, err := unix.Openat(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(out) }()
	for {
		n, err := unix.Read(fd, t.buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return a.apply(out)
		}
		if err := writeAll(out, t.buf[:n]); err != nil {
			return err
		}
	}
}
