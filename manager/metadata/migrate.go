package metadata

import (
	"context"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/conex-containers/conex/base/errdefs"
)

// firstSchema is the oldest schema that there ever was.
const firstSchema = 1

var versionKey = []byte("version")

// step brings a database from one schema to the next. It changes records only through the Tx, which keeps the sum.
type step func(*Tx) error

// ladder holds the steps: ladder[0] goes from schema 1 to 2, and so on. The program's own schema is 1 + len(ladder).
var ladder = []step{}

// schema reads the file's schema number; 0 for a file without one.
func (db *DB) schema() (int, error) {
	version := 0
	err := db.bolt.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(schemaBucket)
		if b == nil {
			return nil
		}
		n, err := strconv.Atoi(string(b.Get(versionKey)))
		if err != nil {
			return fmt.Errorf("%w: schema version: %w", ErrDamaged, err)
		}
		version = n
		return nil
	})
	return version, err
}

// migrate climbs from the file's schema to the program's: a copy of the file first, then each step with its new
// number in one transaction, so that a crash leaves one whole schema or the other.
func (db *DB) migrate(from int, steps []step) error {
	want := firstSchema + len(steps)
	switch {
	case from == want:
		return nil
	case from == 0:
		return db.bolt.Update(func(tx *bolt.Tx) error { return putSchema(tx, want) })
	case from > want:
		return errdefs.FailedPrecondition("schema %d is newer than this program's %d: use the newer Conex, or restore the backup that it made", from, want)
	}
	if err := db.Backup(context.Background(), fmt.Sprintf("%s.schema%d", db.path, from)); err != nil {
		return err
	}
	for v := from; v < want; v++ {
		err := db.bolt.Update(func(tx *bolt.Tx) error {
			b := &batch{tx: tx}
			if err := steps[v-firstSchema](&Tx{batch: b, writable: true}); err != nil {
				return err
			}
			if err := b.putSum(); err != nil {
				return err
			}
			return putSchema(tx, v+1)
		})
		if err != nil {
			return fmt.Errorf("schema %d to %d: %w", v, v+1, err)
		}
	}
	return nil
}

func putSchema(tx *bolt.Tx, version int) error {
	b, err := tx.CreateBucketIfNotExists(schemaBucket)
	if err != nil {
		return err
	}
	return b.Put(versionKey, []byte(strconv.Itoa(version)))
}
