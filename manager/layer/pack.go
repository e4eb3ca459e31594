package layer

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Pack is what Write puts into an archive.
type Pack struct {
	Dir  *os.File // directory that holds it
	Base string   // its name there, never followed; "." for the directory itself
	Name string   // its name in the archive; "" leaves a directory's own entry out
	// OneMount leaves files of other mounts out: what is mounted below is written as an empty directory or file.
	OneMount bool
}

// Write writes a file, or a directory with everything below, as an uncompressed tar archive. It walks by descriptors
// like Create: who runs in the tree meanwhile gets nothing from outside of it into the archive. Sockets are left out.
func Write(ctx context.Context, p Pack, w io.Writer) error {
	c := &creator{ctx: ctx, tar: tar.NewWriter(w), links: map[inode]string{}, buf: make([]byte, 1<<18)}
	if p.OneMount {
		c.mount = mountID(int(p.Dir.Fd()), p.Base)
	}
	if err := c.entry(int(p.Dir.Fd()), p.Base, p.Name); err != nil {
		return err
	}
	if err := c.tar.Close(); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

// mountID is the id of the mount that a name leads to, 0 when the kernel does not tell (before Linux 5.8).
func mountID(dir int, base string) uint64 {
	var stx unix.Statx_t
	err := unix.Statx(dir, base, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &stx)
	if err != nil || stx.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return stx.Mnt_id
}

// mountPoint writes what something is mounted on, as empty as it is below.
func (c *creator) mountPoint(h *tar.Header, st *unix.Stat_t) error {
	h.Typeflag = tar.TypeReg
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	}
	return c.header(h)
}
