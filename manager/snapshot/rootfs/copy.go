package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// maxDepth bounds how deep a tree may be that is copied: each level keeps two descriptors open.
const maxDepth = 2000

// inode names a file of the source.
type inode struct{ dev, ino uint64 }

// copied is where a file with several names went, to be linked to.
type copied struct {
	path string // below the destination
	ino  uint64
}

// copier copies one tree.
type copier struct {
	ctx   context.Context
	to    int // the destination's top
	dev   uint64
	links map[inode]copied
}

// Copy copies the content of the directory from into the empty directory to, with owners, modes, times (of to itself
// too), xattrs, symlinks, devices, FIFOs, sockets, hard links and holes; data is shared where the file system can
// (FICLONE, ioctl_ficlone(2)), else copied inside the kernel. Files of other mounts below from are not entered.
//
// Nothing is followed on either side: names are opened by openat(2) with O_NOFOLLOW, one element at a time.
func Copy(ctx context.Context, from, to *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	c := &copier{ctx: ctx, to: int(to.Fd()), dev: st.Dev, links: map[inode]copied{}}
	if err := c.dir(from, to, "", 0); err != nil {
		return err
	}
	return c.finish(int(from.Fd()), int(to.Fd()), ".", ".", &st)
}

// dir copies a directory's entries.
func (c *copier) dir(from, to *os.File, at string, depth int) error {
	if depth > maxDepth {
		return errdefs.InvalidArgument("copy: directories deeper than %d levels", maxDepth)
	}
	if err := c.ctx.Err(); err != nil {
		return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("copy: %w", err))
	}
	// A descriptor of its own: the caller's may have been read already.
	fd, err := unix.Openat(int(from.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	list := os.NewFile(uintptr(fd), at)
	defer func() { _ = list.Close() }()
	for {
		names, err := list.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := c.entry(fd, int(to.Fd()), name, path.Join(at, name), depth); err != nil {
				return fmt.Errorf("copy %s: %w", path.Join(at, name), err)
			}
		}
	}
}

// entry copies one name.
func (c *copier) entry(from, to int, name, at string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	id := inode{st.Dev, st.Ino}
	if first, ok := c.links[id]; ok && kind != unix.S_IFDIR {
		return c.link(first, to, name)
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		err = c.subdir(from, to, name, at, depth, st.Dev == c.dev)
	case unix.S_IFREG:
		err = c.file(from, to, name, &st)
	case unix.S_IFLNK:
		var target string
		if target, err = readlinkat(from, name); err == nil {
			err = unix.Symlinkat(target, to, name)
		}
	default:
		err = unix.Mknodat(to, name, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return err
	}
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		var made unix.Stat_t
		if err := unix.Fstatat(to, name, &made, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		c.links[id] = copied{path: at, ino: made.Ino}
	}
	return c.finish(from, to, name, name, &st)
}

func (c *copier) subdir(from, to int, name, at string, depth int, enter bool) error {
	if err := unix.Mkdirat(to, name, 0o700); err != nil {
		return err
	}
	if !enter {
		return nil
	}
	src, err := openDir(from, name)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	dst, err := openDir(to, name)
	if err != nil {
		return err
	}
	defer func() { _ = dst.Close() }()
	return c.dir(src, dst, at, depth+1)
}

func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// link makes name another name of a file that was copied before. What is found at its path must be that very file:
// somebody else may be at work in the destination.
func (c *copier) link(first copied, to int, name string) error {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := unix.Openat2(c.to, first.path, &how)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Ino != first.ino {
		return errdefs.Conflict("%s was changed while it was copied", first.path)
	}
	err = unix.Linkat(fd, "", to, name, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.ENOENT) { // without CAP_DAC_READ_SEARCH, see linkat(2)
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), to, name, unix.AT_SYMLINK_FOLLOW)
	}
	return err
}

func (c *copier) file(from, to int, name string, st *unix.Stat_t) error {
	src, err := unix.Openat(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	dst, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(copyData(src, dst, st.Size), unix.Close(dst))
}

// copyData fills dst: by a reflink, else range by range with holes kept.
func copyData(src, dst int, size int64) error {
	if size == 0 {
		return nil
	}
	if unix.IoctlFileClone(dst, src) == nil {
		return nil
	}
	if err := unix.Ftruncate(dst, size); err != nil {
		return err
	}
	for off := int64(0); off < size; {
		begin, err := unix.Seek(src, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole up to the end
		}
		if err != nil {
			begin = off
		}
		end, err := unix.Seek(src, begin, unix.SEEK_HOLE)
		if err != nil {
			end = size
		}
		if err := copyRange(src, dst, begin, min(end, size)); err != nil {
			return err
		}
		off = end
	}
	return nil
}

func copyRange(src, dst int, begin, end int64) error {
	in, out := begin, begin
	for in < end {
		n, err := unix.CopyFileRange(src, &in, dst, &out, int(min(end-in, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
			return copyBytes(src, dst, in, end)
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return nil // the file became shorter
		}
	}
	return nil
}

func copyBytes(src, dst int, off, end int64) error {
	buf := make([]byte, min(end-off, 256<<10))
	for off < end {
		n, err := unix.Pread(src, buf[:min(int64(len(buf)), end-off)], off)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for w := 0; w < n; {
			m, err := unix.Pwrite(dst, buf[w:n], off+int64(w))
			if err != nil {
				return err
			}
			w += m
		}
		off += int64(n)
	}
	return nil
}

// finish gives a copied name its owner, mode, xattrs and times, in the order in which the kernel keeps them: chown
// clears set-user-id bits and file capabilities, every change sets the times.
func (c *copier) finish(from, to int, src, dst string, st *unix.Stat_t) error {
	if err := unix.Fchownat(to, dst, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := chmod(to, dst, st.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := copyXattrs(from, src, to, dst); err != nil {
		return err
	}
	return unix.UtimesNanoAt(to, dst, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// chmod changes the mode of what is at the name itself; fchmodat2(2) with AT_SYMLINK_NOFOLLOW came with Linux 6.6.
func chmod(at int, name string, mode uint32) error {
	err := unix.Fchmodat(at, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
}
