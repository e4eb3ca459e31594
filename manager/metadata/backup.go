package metadata

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/conex-containers/conex/base/errdefs"
)

// Backup writes a consistent copy of the database to path while it is in use: first beside it, synced, then renamed
// over what was there, so that path is always one whole database.
func (db *DB) Backup(ctx context.Context, path string) (err error) {
	if err := ctx.Err(); err != nil {
		return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("backup: %w", err))
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp-")
	if err != nil {
		return fmt.Errorf("backup %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("backup %s: %w", path, err)
		}
	}()
	tx, err := db.bolt.Begin(false)
	if err != nil {
		return db.wrap(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = tx.WriteTo(w)
	if err = errors.Join(err, tx.Rollback()); err != nil {
		return err
	}
	if err = errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Check reads the whole database from the disk, while it is in use or not, and returns what is wrong with it in
// plain words; none when every page and record is as it was written. The error is only for a check that could not
// be made.
func (db *DB) Check(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, errdefs.With(errdefs.ErrCancelled, fmt.Errorf("check: %w", err))
	}
	// An open reader keeps the pages of its own and of every newer state from being written again.
	tx, err := db.bolt.Begin(false)
	if err != nil {
		return nil, db.wrap(err)
	}
	defer func() { _ = tx.Rollback() }()
	f, err := os.Open(db.path)
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("check: %w", err)
	}
	r, err := verify(f, st.Size())
	if err != nil {
		return []string{err.Error()}, nil
	}
	return r.warnings, nil
}
