// Package overlay lays snapshots out for overlayfs (kernel: Documentation/filesystems/overlayfs.rst): each snapshot
// holds only what differs from its parent, so making one on top of any image is three mkdirs.
package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

const workDir = "work"

// Driver is the overlay driver. Probe finds out what the kernel takes, so it comes first.
type Driver struct {
	volatile bool
	images   bool // committed snapshots are EROFS images, see images.go
}

// New returns the driver.
func New() *Driver { return &Driver{} }

// Name is "overlay", or "erofs" with images.
func (d *Driver) Name() string {
	if d.images {
		return "erofs"
	}
	return "overlay"
}

// Probe mounts a small overlay, detached from every mount table, and removes a file in it: that needs d_type,
// whiteouts and trusted xattrs of the file system below.
func (d *Driver) Probe(dir string) error {
	if strings.Contains(dir, "\\") {
		return errdefs.InvalidArgument("the path %s has a backslash, which overlay's options cannot hold: use another data root", dir)
	}
	lower, top := filepath.Join(dir, "lower"), filepath.Join(dir, "top")
	for _, p := range []string{filepath.Join(lower, snapshot.Files, "d"), top} {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(lower, snapshot.Files, "d", "f"), nil, 0o644); err != nil {
		return err
	}
	l := snapshot.Layout{Dir: top, Parents: []string{lower}, Kind: snapshot.Active}
	if err := d.Seal(snapshot.Layout{Dir: lower, Kind: snapshot.Active}); err != nil {
		return err
	}
	if err := d.Create(context.Background(), l); err != nil {
		return err
	}
	if err := d.try(l); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(top, snapshot.Files, "d", "f"), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return errors.New("the file system below cannot hold whiteouts")
	}
	l.Volatile, d.volatile = true, true
	d.volatile = d.try(l) == nil
	return nil
}

// try mounts the layout and removes the probe's file, when it is there.
func (d *Driver) try(l snapshot.Layout) error {
	mounts, err := d.Mounts(l)
	if err != nil {
		return err
	}
	at, err := rootfs.Detach(mounts, 0)
	if err != nil {
		return err
	}
	err = unix.Unlinkat(int(at.Fd()), "d/f", 0)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, at.Close())
}

// Create makes <dir>/fs, with the owner and mode of the parent's root directory, which it covers, and <dir>/work.
func (d *Driver) Create(_ context.Context, l snapshot.Layout) error {
	files := filepath.Join(l.Dir, snapshot.Files)
	if err := mkdir(files, 0o755); err != nil {
		return err
	}
	if len(l.Parents) > 0 {
		if err := inherit(filepath.Join(l.Parents[0], snapshot.Files), files); err != nil {
			return err
		}
	}
	if l.Kind != snapshot.Active {
		return nil
	}
	return mkdir(filepath.Join(l.Dir, workDir), 0o711)
}

// Stack gives <dir>/fs the owner and mode that Create would have given it.
func (d *Driver) Stack(l snapshot.Layout) error {
	return inherit(filepath.Join(l.Parents[0], snapshot.Files), filepath.Join(l.Dir, snapshot.Files))
}

func mkdir(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// inherit gives the directory to the owner and mode of from. Both are the store's own directories, not image paths.
func inherit(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if ok && (sys.Uid != 0 || sys.Gid != 0) {
		if err := os.Lchown(to, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if sys == nil || sys.Mode&0o7777 == 0o755 {
		return nil // as mkdir made it
	}
	return unix.Chmod(to, sys.Mode&0o7777)
}

// options that every overlay gets. No index: layers are shared by many overlays. No redirects, no metacopy: an image's
// layer could bring forged trusted.overlay.* xattrs that point elsewhere, and a layer's files must all be in it for
// a diff.
var options = []string{"index=off", "redirect_dir=nofollow", "metacopy=off"}

// Mounts returns one mount: an overlay, or a bind mount where one directory is all there is.
func (d *Driver) Mounts(l snapshot.Layout) ([]mount.Mount, error) {
	files := filepath.Join(l.Dir, snapshot.Files)
	switch {
	case l.Kind == snapshot.View && len(l.Parents) == 1 && d.images && !l.Loose:
		return []mount.Mount{{Type: "erofs", Source: d.layer(l.Parents[0]), Options: []string{"ro"}}}, nil
	case l.Kind == snapshot.View && len(l.Parents) == 1:
		return bind(filepath.Join(l.Parents[0], snapshot.Files), "ro"), nil
	case l.Kind == snapshot.View && len(l.Parents) == 0:
		return bind(files, "ro"), nil
	case len(l.Parents) == 0:
		return bind(files, "rw"), nil
	}
	lower := make([]string, len(l.Parents))
	for i, p := range l.Parents {
		layer := d.layer(p)
		if i == 0 && l.Loose {
			layer = filepath.Join(p, snapshot.Files)
		}
		lower[i] = strings.ReplaceAll(layer, ":", "\\:")
	}
	o := append(make([]string, 0, 7), "lowerdir="+strings.Join(lower, ":"))
	if l.Kind == snapshot.Active {
		work := filepath.Join(l.Dir, workDir)
		o = append(o, "upperdir="+files, "workdir="+work)
		if l.Volatile && d.volatile {
			if err := allowAgain(work); err != nil {
				return nil, err
			}
			o = append(o, "volatile")
		}
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append(o, options...)}}, nil
}

// allowAgain removes the mark that the kernel leaves in a volatile overlay's work directory so that one that a power
// cut tore is not used again. A volatile snapshot does not outlive the boot: its container may start a second time.
func allowAgain(work string) error {
	mark := filepath.Join(work, "work", "incompat", "volatile")
	err := unix.Unlink(filepath.Join(mark, "dirty"))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = unix.Rmdir(mark)
	}
	if err != nil {
		return fmt.Errorf("overlay: %s: %w", mark, err)
	}
	return nil
}

func bind(dir, mode string) []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", mode}}}
}

// layer is what a committed snapshot is as a lower layer.
func (d *Driver) layer(dir string) string {
	if d.images {
		return filepath.Join(dir, Image)
	}
	return filepath.Join(dir, snapshot.Files)
}

// Seal removes the work directory: a committed snapshot is never an upper one again.
func (d *Driver) Seal(l snapshot.Layout) error {
	if err := rootfs.RemoveTree(filepath.Join(l.Dir, workDir)); err != nil || !d.images {
		return err
	}
	return pack(l.Dir)
}
