package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// salvage is what a walk through a damaged file brings out.
type salvage struct {
	rows []row
	lost []string
}

type row struct {
	kind           Kind
	namespace, key string
	raw            []byte
}

// Salvage makes a new database at path of every record of the damaged one that is as it was written, and moves the damaged
// one to the returned name. Lost says in plain words what could not be read; records that are on a page that is lost
// have no name any more. Unavailable while a process has the database; ErrDamaged when nothing at all can be read.
func Salvage(ctx context.Context, path string) (aside string, lost []string, err error) {
	lock, err := acquire(path, Options{LockTimeout: time.Millisecond})
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	found, err := readDamaged(path)
	if err != nil {
		return "", nil, err
	}
	fresh := path + ".salvaged"
	parts := []string{"", lockSuffix, createdSuffix}
	defer func() {
		for _, suffix := range parts {
			_ = os.Remove(fresh + suffix)
		}
	}()
	if err := write(ctx, fresh, found.rows); err != nil {
		return "", nil, fmt.Errorf("database %s: salvage: %w", path, err)
	}
	aside = path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	if err := errors.Join(os.Rename(path, aside), os.Rename(fresh, path)); err != nil {
		return "", nil, fmt.Errorf("database %s: salvage: %w", path, err)
	}
	return aside, found.lost, nil
}

func readDamaged(path string) (*salvage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	s := &salvage{}
	v := &verified{file: f, seen: map[uint64]bool{0: true, 1: true}, schema: map[string]string{}, salvage: s}
	root, _, err := v.meta(st.Size())
	if err == nil {
		err = v.tree(root, nil, nil, nil, 0)
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	if version, told := v.schema[string(versionKey)]; told && version != strconv.Itoa(firstSchema+len(ladder)) {
		return nil, errdefs.FailedPrecondition("database %s: schema %s is another program's: salvage it with that one", path, version)
	}
	return s, nil
}

func write(ctx context.Context, path string, rows []row) error {
	db, err := Open(path, Options{})
	if err != nil {
		return err
	}
	err = db.Update(ctx, func(tx *Tx) error {
		for _, r := range rows {
			if err := tx.Put(r.kind, r.namespace, r.key, json.RawMessage(r.raw)); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, db.Close())
}
