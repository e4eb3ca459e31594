package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/erofs"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// Image is the file below a committed snapshot's directory that holds its layer, with the driver "erofs". Its fs/ is then
// empty, and keeps the owner and mode of the root directory alone.
//
//	active      <n>/fs (upper), <n>/work         lower: <m>/layer.erofs, ... each mounted for this overlay alone
//	committed   <n>/fs (empty), <n>/layer.erofs
const Image = "layer.erofs"

// NewEROFS returns the driver whose committed snapshots are one EROFS image each. A layer is then one file: it can be
// checked as a whole, shared with a virtual machine, removed at once.
func NewEROFS() *Driver { return &Driver{images: true} }

// Present says what is missing of a committed snapshot, nil when nothing is.
func (d *Driver) Present(dir string) error {
	if !d.images {
		return nil
	}
	_, err := os.Lstat(filepath.Join(dir, Image))
	return err
}

// Usage is what a committed snapshot's image takes.
func (d *Driver) Usage(dir string) (size, inodes int64, err error) {
	if !d.images {
		return 0, 0, nil
	}
	var st unix.Stat_t
	err = unix.Lstat(filepath.Join(dir, Image), &st)
	return st.Blocks * 512, 1, err
}

// pack makes the image of what is in dir's fs/, and empties that.
func pack(dir string) (err error) {
	files, path := filepath.Join(dir, snapshot.Files), filepath.Join(dir, Image)
	from, err := os.Open(files)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(erofs.Write(context.Background(), from, out), out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	empty := filepath.Join(dir, "empty")
	if err := mkdir(empty, 0o755); err != nil {
		return err
	}
	if err := errors.Join(inherit(files, empty), rootfs.RemoveTree(files)); err != nil {
		return fmt.Errorf("empty %s: %w", files, err)
	}
	return os.Rename(empty, files)
}
