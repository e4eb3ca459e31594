package rootfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// flatten is the depth at which RemoveTree moves a directory up to the top: a tree can be as deep as its maker likes,
// descriptors and stack cannot.
const flatten = 100

// RemoveTree removes the directory or file at path and all below it. It follows no symlink and leaves other mounts
// alone: where something is mounted inside, it removes the rest and fails. A path that does not exist is right.
func RemoveTree(path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = parent.Close() }()
	r := remover{}
	if err := r.remove(int(parent.Fd()), filepath.Base(path), 0); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

type remover struct {
	top    int // descriptor of the tree's first directory
	serial int
}

// remove removes what has the name, whatever it is.
func (r *remover) remove(at int, name string, depth int) error {
	err := unix.Unlinkat(at, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR):
		if depth >= flatten {
			return r.raise(at, name)
		}
		return r.directory(at, name, depth)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (r *remover) directory(at int, name string, depth int) error {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := unix.Openat2(at, name, &how)
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("%s: something is mounted there", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer func() { _ = dir.Close() }()
	if depth == 0 {
		r.top = fd
	}
	// Again as long as there is something: removing while reading may skip entries (readdir(3)), and directories
	// that were moved up appear at the top.
	for {
		if err := r.entries(dir, depth); err != nil {
			return err
		}
		err := unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.ENOTEMPTY):
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// entries removes a directory's entries, once through; what cannot be removed does not keep the others.
func (r *remover) entries(dir *os.File, depth int) error {
	var failed error
	for {
		names, err := dir.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return failed
		}
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, name := range names {
			failed = errors.Join(failed, r.remove(int(dir.Fd()), name, depth+1))
		}
	}
}

// raise moves a directory up to the top of the tree, where entries finds it.
func (r *remover) raise(at int, name string) error {
	for {
		r.serial++
		err := unix.Renameat2(at, name, r.top, ".deep-"+strconv.Itoa(r.serial), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}
