package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/linux/safepath"
)

// Root is an open root file system. Every path is resolved inside it: absolute symlinks start at it, ".." ends at
// it (openat2(2), RESOLVE_IN_ROOT), and links of /proc are not followed. For concurrent use until Close.
type Root struct {
	dir *os.File
}

// Open mounts what a snapshotter returned, detached, read-only, without devices and set-user-id.
func Open(mounts []mount.Mount) (*Root, error) {
	dir, err := Detach(mounts, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	return &Root{dir: dir}, nil
}

// FromDir makes a Root of an open directory (a volume, /proc/<pid>/root). The Root owns dir.
func FromDir(dir *os.File) *Root { return &Root{dir: dir} }

// Close lets go of the file system.
func (r *Root) Close() error { return r.dir.Close() }

func (r *Root) openat(path string, flags int) (*os.File, error) {
	if path == "" {
		path = "."
	}
	fd, err := safepath.At(int(r.dir.Fd())).Open(path, flags)
	if err != nil {
		return nil, classify(err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func classify(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return errdefs.With(errdefs.ErrNotFound, err)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EINVAL):
		return errdefs.With(errdefs.ErrInvalidArgument, err)
	}
	return err
}

// Open opens a regular file or a directory for reading, following symlinks. Everything else (a FIFO, a device) is
// InvalidArgument: opening it could block or act.
func (r *Root) Open(path string) (*os.File, error) {
	f, err := r.openat(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() && !st.IsDir() {
		err = errdefs.InvalidArgument("%s: is neither a file nor a directory", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile reads a regular file of at most max bytes; InvalidArgument when it is larger.
func (r *Root) ReadFile(path string, max int64) ([]byte, error) {
	f, err := r.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, errdefs.InvalidArgument("%s: larger than %d bytes", path, max)
	}
	return data, nil
}

// Stat describes what path leads to, following symlinks. Sys is a *syscall.Stat_t.
func (r *Root) Stat(path string) (fs.FileInfo, error) { return r.stat(path, 0) }

// Lstat describes what is at path, a symlink itself where it ends in one.
func (r *Root) Lstat(path string) (fs.FileInfo, error) { return r.stat(path, unix.O_NOFOLLOW) }

func (r *Root) stat(path string, flags int) (fs.FileInfo, error) {
	f, err := r.openat(path, unix.O_PATH|flags)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return f.Stat()
}

// Readlink returns where the symlink at path points, unresolved.
func (r *Root) Readlink(path string) (string, error) {
	f, err := r.openat(path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	target, err := readlinkat(int(f.Fd()), "")
	if err != nil {
		return "", classify(&fs.PathError{Op: "readlink", Path: path, Err: err})
	}
	return target, nil
}

// ReadDir lists a directory, sorted by name. The entries' Info is as of now.
func (r *Root) ReadDir(path string) ([]fs.DirEntry, error) {
	f, err := r.openat(path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	slices.Sort(names)
	dir := &Root{dir: f}
	list := make([]fs.DirEntry, 0, len(names))
	for _, name := range names {
		info, err := dir.Lstat(name)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, fs.FileInfoToDirEntry(info))
	}
	return list, nil
}

// CopyTree copies the content of the directory srcPath, and its owner, mode and times, into the empty directory
// dstDir: volume copy-up. See Copy for what is kept. NotFound when srcPath does not exist, InvalidArgument when it is
// no directory.
func (r *Root) CopyTree(srcPath string, dstDir *os.File) error {
	src, err := r.Open(srcPath)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return errdefs.InvalidArgument("%s: is not a directory", srcPath)
	}
	return Copy(context.Background(), src, dstDir)
}

func readlinkat(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
