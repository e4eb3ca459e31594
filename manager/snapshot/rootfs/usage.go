package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Usage adds up what the tree at path occupies: bytes by blocks (so a sparse file counts what it takes, not what it
// shows) and inodes, a file with several names once.
func Usage(ctx context.Context, path string) (size, inodes int64, err error) {
	d, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = d.Close() }()
	u := &usage{ctx: ctx, seen: map[inode]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return 0, 0, err
	}
	u.dev = st.Dev
	u.count(&st)
	if err := u.dir(d, 0); err != nil {
		return 0, 0, err
	}
	return u.size, u.inodes, nil
}

type usage struct {
	ctx          context.Context
	dev          uint64
	size, inodes int64
	seen         map[inode]bool
}

func (u *usage) count(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		id := inode{st.Dev, st.Ino}
		if u.seen[id] {
			return
		}
		u.seen[id] = true
	}
	u.inodes++
	u.size += st.Blocks * 512
}

func (u *usage) dir(d *os.File, depth int) error {
	if depth > maxDepth {
		return errdefs.InvalidArgument("directories deeper than %d levels", maxDepth)
	}
	if err := u.ctx.Err(); err != nil {
		return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("usage: %w", err))
	}
	for {
		names, err := d.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := u.entry(int(d.Fd()), name, depth); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
}

func (u *usage) entry(at int, name string, depth int) error {
	var st unix.Stat_t
	err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil // a running container removed it
	}
	if err != nil {
		return err
	}
	u.count(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Dev != u.dev {
		return nil
	}
	sub, err := openDir(at, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }()
	return u.dir(sub, depth+1)
}
