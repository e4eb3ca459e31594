// Package atomicfile replaces a file in one step: readers see the old content or the new, never a part of it.
package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Write puts data at path by a temporary file in the same directory and a rename. With sync the data and the
// directory entry are on disk when it returns; without, a crash of the machine may bring the old content back,
// a crash of the process may not.
func Write(path string, data []byte, mode os.FileMode, sync bool) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if sync {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if sync {
		return syncDir(dir)
	}
	return nil
}

// temporary begins the names of path's temporary files.
func temporary(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// Sweep removes what a crash left of earlier Writes to path. Nobody else may be writing it.
func Sweep(path string) error {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep %s: %w", path, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), temporary(path)) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("sweep %s: %w", path, err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}
