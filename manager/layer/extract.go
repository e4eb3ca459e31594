package layer

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Into is where Extract puts an archive's files.
type Into struct {
	Root *os.File // all lookups end here: the root directory of a container
	Dir  string   // existing directory below Root that the archive's names start from
	// KeepKind refuses entries that would replace a directory by something else, or the other way round.
	KeepKind bool
	Owner    *Owner // of everything that is made; nil: as the archive says
}

// Owner is a user and its primary group.
type Owner struct{ UID, GID int }

// Extract unpacks an archive, plain or compressed, over what is there. Unlike a layer its entries may lie on mounts
// below the root, and names like ".wh.x" are names. It does not undo what was done before an error. Whatever the
// archive or a process in the tree does meanwhile, nothing outside of Root is touched: every lookup resolves inside
// it, and files are always made anew, never written through what was there.
func Extract(ctx context.Context, into Into, r io.Reader) error {
	base, err := cleanName(into.Dir)
	if err != nil {
		return err
	}
	root, err := unix.FcntlInt(into.Root.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t := &tree{
		root: root, parentFD: -1, base: base, into: &into, limits: Limits{}.withDefaults(), dirs: map[string]attrs{},
		resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS, buf: *buffers.Get().(*[]byte),
	}
	defer t.close()
	dec, err := Decompress(r)
	if err != nil {
		return err
	}
	var once sync.Once
	done := func() { once.Do(func() { _ = dec.Close() }) }
	defer done()
	if err := t.unpack(ctx, dec); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, dec) // padding: the sender is heard out
	return err
}

// extract makes one entry of Extract's archive. The archive's own "." does not change the directory it goes to.
func (t *tree) extract(h *tar.Header, rel string, a attrs, body io.Reader) error {
	if rel == "" {
		return nil
	}
	rel = path.Join(t.base, rel)
	if o := t.into.Owner; o != nil {
		a.uid, a.gid = o.UID, o.GID
	}
	dir, base := splitName(rel)
	parent, err := t.parent(dir)
	if err != nil {
		return err
	}
	if t.into.KeepKind {
		if err := keepsKind(parent, base, h.Typeflag == tar.TypeDir); err != nil {
			return err
		}
	}
	return t.make(parent, rel, h, a, body)
}

func keepsKind(parent int, base string, directory bool) error {
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	switch was := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case was && !directory:
		return errdefs.InvalidArgument("cannot overwrite directory %q with non-directory %q", base, base)
	case !was && directory:
		return errdefs.InvalidArgument("cannot overwrite non-directory %q with directory %q", base, base)
	}
	return nil
}
