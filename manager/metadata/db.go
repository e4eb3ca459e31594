package metadata

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Options of Open.
type Options struct {
	// Volatile: nothing is ever synced, and a file that was written under another boot is thrown away.
	Volatile bool
	// ReadOnly: for an audit while no daemon runs. The file must exist; Update fails.
	ReadOnly bool
	// LockTimeout is how long Open waits for another process to let go of the file; 0 means two seconds.
	LockTimeout time.Duration
}

// DB is an open database. All methods are for concurrent use.
type DB struct {
	path     string
	bolt     *bolt.DB
	lock     *os.File
	volatile bool
	fresh    bool

	mu      sync.Mutex
	queue   []*call // Updates that wait for the running one to end
	leading bool    // an Update is running
	closed  bool
	broken  error // a sync failed: what is on disk is unknown, so nothing more is written
}

// ErrDamaged is in the chain of every error that says that the file's content is not what was written.
var ErrDamaged = errors.New("database is damaged")

// Open opens or makes the database at path. It fails with Unavailable, naming the process, when another one holds
// it; with ErrDamaged in the chain when any page or record is not as it was written (nothing is changed then; a volatile
// one is moved aside and made anew); with FailedPrecondition when a newer Conex wrote it.
func Open(path string, o Options) (_ *DB, err error) {
	if !o.ReadOnly {
		if err := os.MkdirAll(filepath.Dir(path), 0o710); err != nil {
			return nil, fmt.Errorf("database %s: %w", path, err)
		}
	}
	lock, err := acquire(path, o)
	if err != nil {
		return nil, err
	}
	db := &DB{path: path, lock: lock, volatile: o.Volatile}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	if o.Volatile && !o.ReadOnly {
		if err := discardOtherBoot(path); err != nil {
			return nil, fmt.Errorf("database %s: %w", path, err)
		}
	}
	warnings, err := verifyPath(path)
	if err != nil && o.Volatile && !o.ReadOnly {
		warnings, err = nil, setAside(path, err)
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() == 0 {
		db.fresh = true
	}
	for _, w := range warnings {
		slog.Warn("database", "path", path, "problem", w)
	}
	if db.bolt, err = openBolt(path, o); err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return db, nil
	}
	if err := db.prepare(); err != nil {
		return nil, err
	}
	db.reserve()
	return db, nil
}

// reserveSize is the disk space that a durable database holds ahead of its need.
const reserveSize = 4 << 20

// reserve takes disk space beyond the file's end, so that records can still be written, above all removals, when
// the disk is full. A file system that cannot is no reason not to run.
func (db *DB) reserve() {
	if db.volatile {
		return
	}
	f, err := os.OpenFile(db.path, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err == nil {
		_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, st.Size()+reserveSize)
	}
}

// setAside moves a damaged volatile database out of the way: what it told is only of this boot, and its owner makes it
// anew out of what else there is.
func setAside(path string, cause error) error {
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(path, aside); err != nil {
		return errors.Join(cause, err)
	}
	slog.Error("a damaged database was moved aside", "path", path, "to", aside, "err", cause)
	return nil
}

// Fresh reports whether Open made the database: it was not there, empty, of another boot, or damaged and set aside.
func (db *DB) Fresh() bool { return db.fresh }

// Path returns the database's file name.
func (db *DB) Path() string { return db.path }

// Volatile reports whether the database is the unsynced kind.
func (db *DB) Volatile() bool { return db.volatile }

// damaged words the error of a damaged file with the way out.
func damaged(path string, cause error) error {
	away := "move it"
	if _, err := os.Stat(path + createdSuffix); err == nil {
		away += " and " + path + createdSuffix
	}
	return fmt.Errorf("%w: %s: %w: restore it from a backup, or %s away to start with nothing", ErrDamaged, path, cause, away)
}

// verifyPath checks the whole file before bbolt maps it, because bbolt panics, partly in goroutines of its own, on
// what it does not expect. A file that was never made is right; one that was and is gone or empty is a loss, since
// everything else under the data root would look like waste beside a fresh database.
func verifyPath(path string) (warnings []string, err error) {
	_, made := os.Stat(path + createdSuffix)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && made != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() == 0 && made != nil {
		return nil, nil
	}
	r, err := verify(f, st.Size())
	if err != nil {
		return nil, err
	}
	return r.warnings, nil
}

// openBolt opens the file with panics and faults (a page beyond the file's end) turned into errors.
func openBolt(path string, o Options) (b *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			b, err = nil, damaged(path, fmt.Errorf("%v", p))
		}
	}()
	b, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         time.Second,
		NoFreelistSync:  true, // rebuilt at Open; a commit writes one page less and cannot be misled by a bad list
		FreelistType:    bolt.FreelistMapType,
		NoSync:          o.Volatile,
		NoGrowSync:      o.Volatile,
		InitialMmapSize: 64 << 20, // address space only: a remap would wait for all readers
		ReadOnly:        o.ReadOnly,
		NoStatistics:    true,
	})
	switch {
	case err == nil:
		b.AllocSize = 1 << 20 // by which the file grows
		return b, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, errdefs.Unavailable("database %s: another program has the file locked", path)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, damaged(path, err)
	}
	return nil, fmt.Errorf("database %s: %w", path, err)
}

// prepare makes the schema of a fresh file, or brings an older one up to this program's.
func (db *DB) prepare() error {
	from, err := db.schema()
	if err != nil {
		return fmt.Errorf("database %s: %w", db.path, err)
	}
	if err := db.migrate(from, ladder); err != nil {
		return fmt.Errorf("database %s: %w", db.path, err)
	}
	if db.volatile {
		return nil
	}
	// From now on an empty or missing file is a loss, not a beginning.
	mark, err := os.OpenFile(db.path+createdSuffix, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("database %s: %w", db.path, err)
	}
	return mark.Close()
}

// createdSuffix names the empty file beside a durable database that says that it was once made.
const createdSuffix = ".made"

// View runs fn in a read-only transaction: a consistent look that no Update changes. fn must not call Update.
func (db *DB) View(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return errdefs.With(errdefs.ErrCancelled, fmt.Errorf("database: %w", err))
	}
	tx, err := db.bolt.Begin(false)
	if err != nil {
		return db.wrap(err)
	}
	defer func() { _ = tx.Rollback() }()
	return fn(&Tx{batch: &batch{tx: tx}})
}

// Close ends the database: it waits for running transactions, then lets go of the lock. Closing twice is allowed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	db.mu.Unlock()
	var err error
	if db.bolt != nil {
		err = db.bolt.Close()
	}
	if db.lock != nil {
		err = errors.Join(err, db.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("database %s: %w", db.path, err)
	}
	return nil
}

func (db *DB) wrap(err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return errdefs.Unavailable("database %s is closed", db.path)
	}
	return fmt.Errorf("database %s: %w", db.path, err)
}
