// Package native lays snapshots out as whole copies of their parents, with shared extents (reflinks) where the file
// system can: for file systems on which overlayfs does not work.
package native

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// Driver is the native driver.
type Driver struct{}

// New returns the driver.
func New() *Driver { return &Driver{} }

// Name is "native".
func (d *Driver) Name() string { return "native" }

// Probe needs nothing but a directory that can be written.
func (d *Driver) Probe(dir string) error { return os.Mkdir(filepath.Join(dir, snapshot.Files), 0o755) }

// Create makes <dir>/fs, an active one with all files of the parent.
func (d *Driver) Create(ctx context.Context, l snapshot.Layout) error {
	files := filepath.Join(l.Dir, snapshot.Files)
	if err := os.Mkdir(files, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if l.Kind != snapshot.Active || len(l.Parents) == 0 {
		return nil
	}
	from, err := os.Open(filepath.Join(l.Parents[0], snapshot.Files))
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.Open(files)
	if err != nil {
		return err
	}
	return errors.Join(rootfs.Copy(ctx, from, to), to.Close())
}

// Mounts returns one bind mount, of a view's parent itself.
func (d *Driver) Mounts(l snapshot.Layout) ([]mount.Mount, error) {
	dir, mode := l.Dir, "rw"
	if l.Kind == snapshot.View {
		mode = "ro"
		if len(l.Parents) > 0 {
			dir = l.Parents[0]
		}
	}
	return []mount.Mount{{Type: "bind", Source: filepath.Join(dir, snapshot.Files), Options: []string{"rbind", mode}}}, nil
}

// Seal has nothing to free.
func (d *Driver) Seal(snapshot.Layout) error { return nil }
