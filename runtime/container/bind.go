package container

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

func isBind(m specs.Mount, o *mount.Options) bool { return m.Type == "bind" || o.Bind }

// bind mounts a file or directory of the host. The mount point is of the same kind as the source, made when missing.
func (b *builder) bind(i int, m specs.Mount, o mount.Options, dest string) error {
	if o.CopySymlink {
		if o.SrcNoFollow || o.DstNoFollow {
			return errdefs.InvalidArgument("option copy-symlink excludes src-nofollow and dest-nofollow")
		}
		if link, err := os.Readlink(b.k.source(m)); err == nil {
			return b.copyLink(link, dest)
		}
	}
	t, err := b.bindSource(i, m, o)
	if err != nil {
		return err
	}
	if b.clones == nil {
		defer t.Close()
	}
	if err := b.mapTree(t, m, o); err != nil {
		return err
	}
	if err := t.SetAttr(o.Attr, false); err != nil {
		return err
	}
	if err := t.SetAttr(o.RecAttr, true); err != nil {
		return err
	}
	target, err := b.bindTarget(t, dest, o.DstNoFollow)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(target) }()
	if dest == "/dev" {
		b.bound = true
	}
	if err := b.place(t, target, dest, o); err != nil {
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("bind source %s: not a directory where a directory is, or the other way round, or not mountable: %w", b.k.source(m), err)
		}
		return err
	}
	return nil
}

// bindSource is a detached mount of the source.
func (b *builder) bindSource(i int, m specs.Mount, o mount.Options) (mount.Tree, error) {
	if t, ok := b.clones[i]; ok {
		return t, nil
	}
	return cloneSource(b.k.source(m), o)
}

func cloneSource(source string, o mount.Options) (t mount.Tree, err error) {
	if o.SrcNoFollow {
		t, err = mount.CloneLink(unix.AT_FDCWD, source)
	} else {
		t, err = mount.Clone(unix.AT_FDCWD, source, o.Recursive)
	}
	if errors.Is(err, unix.ENOENT) {
		return -1, errdefs.NotFound("bind source %s does not exist: %w", source, unix.ENOENT)
	}
	if err != nil {
		return -1, fmt.Errorf("bind source %s: %w", source, err)
	}
	return t, nil
}

// bindTarget opens or makes the mount point of t.
func (b *builder) bindTarget(t mount.Tree, dest string, noFollow bool) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(t), &st); err != nil {
		return -1, err
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case noFollow:
		return b.linkTarget(dest, dir)
	case dir:
		return b.root.MkdirAll(dest, pointMode)
	}
	return b.root.File(dest, pointMode)
}

// linkTarget opens dest without following a link there. Links of proc are the kernel's own: what lies over one shows
// to whoever follows it, runtimes among them (CVE-2025-52881).
func (b *builder) linkTarget(dest string, dir bool) (int, error) {
	if dir {
		return b.root.MkdirAll(dest, pointMode)
	}
	fd, err := b.root.Link(dest, pointMode)
	if err != nil {
		return -1, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type == unix.PROC_SUPER_MAGIC {
		_ = unix.Close(fd)
		return -1, errors.Join(errdefs.InvalidArgument("dest-nofollow: nothing can be mounted on a link of proc"), err)
	}
	return fd, nil
}

// copyLink makes a symbolic link at dest, as the source is one; the same link may be there already.
func (b *builder) copyLink(link, dest string) error {
	dir, name, err := b.root.Parent(dest, pointMode)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	err = unix.Symlinkat(link, dir, name)
	if err == unix.EEXIST {
		buf := make([]byte, len(link)+1)
		if n, e := unix.Readlinkat(dir, name, buf); e == nil && string(buf[:n]) == link {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("copy-symlink: %w", err)
	}
	return nil
}
