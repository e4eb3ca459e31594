// Package snapshot keeps layered root file systems: committed snapshots are immutable layers keyed by chainID,
// active ones are the writable tops of containers and of layers being unpacked.
//
// The model is containerd's: Prepare(key, parent) makes an active snapshot whose Mounts are to be written to;
// Commit(name, key) turns it into the committed name that others may have as parent; View(key, parent) is read-only.
//
//	                        ┌── Prepare("c1", L2) ── container 1 writes ── Remove("c1")
//	Prepare("x1", "")       │
//	   │ unpack layer 1     │         (all of it in <root>/<driver>/<n>/, n counted up)
//	   ▼                    │
//	Commit(L1, "x1") ─▶ Prepare("x2", L1) ─ unpack layer 2 ─▶ Commit(L2, "x2")
//
// A committed snapshot is not synced file by file: its record says under which boot it was made until one syncfs(2)
// in the background has put all of it on the disk. After a power cut before that, Open drops it, and it is unpacked
// again from its blob, which is durable.
package snapshot

import (
	"context"
	"time"

	"github.com/conex-containers/conex/linux/mount"
)

// Kind of a snapshot.
type Kind string

// The kinds.
const (
	Active    Kind = "active"
	Committed Kind = "committed"
	View      Kind = "view"
)

// Info describes a snapshot.
type Info struct {
	Key       string            `json:"key"`
	Parent    string            `json:"parent,omitempty"`
	Kind      Kind              `json:"kind"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"createdAt"`
	Dir       string            `json:"dir"`              // number of its directory below the snapshotter's root
	Size      int64             `json:"size,omitempty"`   // bytes, of committed ones, measured at Commit
	Points    bool              `json:"points,omitempty"` // the store's Points are below its parents
}

// Usage is what a snapshot alone occupies.
type Usage struct {
	Size   int64 // bytes
	Inodes int64
}

// Snapshotter makes and keeps snapshots. Errors are NotFound, AlreadyExists, FailedPrecondition (has children).
type Snapshotter interface {
	Stat(ctx context.Context, key string) (Info, error)
	Mounts(ctx context.Context, key string) ([]mount.Mount, error)
	Prepare(ctx context.Context, key, parent string, opts ...Option) ([]mount.Mount, error)
	View(ctx context.Context, key, parent string, opts ...Option) ([]mount.Mount, error)
	Commit(ctx context.Context, name, key string, opts ...Option) error
	Remove(ctx context.Context, key string) error
	Walk(ctx context.Context, fn func(Info) error) error
	Usage(ctx context.Context, key string) (Usage, error)
}

// Viewer shows parts of views.
type Viewer interface {
	// Below is Mounts for what a view has at path, a relative one without links. InvalidArgument when it is not there.
	Below(ctx context.Context, key, path string) ([]mount.Mount, error)
}

// Stacker lets layers be unpacked side by side: each into a snapshot without a parent, which comes onto its own when that
// is there.
type Stacker interface {
	// Stacks reports whether the driver can do it: one that copies its parents' files cannot.
	Stacks() bool
	// Onto puts an active snapshot that has no parent on top of a committed one, and says how to mount it now. Its files
	// must not depend on a parent's, but in the form that overlayfs knows. It is in no record before the Commit: an
	// active snapshot that a crash leaves is removed whatever its parent.
	Onto(ctx context.Context, key, parent string) ([]mount.Mount, error)
}

// Option changes how a snapshot is made.
type Option func(*Config)

// Config is what Options set.
type Config struct {
	Labels   map[string]string
	Volatile bool  // its record lives in the volatile database: for `--rm` containers
	Size     int64 // of a Commit: bytes that the caller counted; 0: measure
	Points   bool  // see Store.Points
}

// WithLabels adds labels to the snapshot.
func WithLabels(l map[string]string) Option { return func(c *Config) { c.Labels = l } }

// WithSize tells Commit how many bytes the snapshot has, from one who wrote it and knows, so that it need not be
// walked.
func WithSize(bytes int64) Option { return func(c *Config) { c.Size = bytes } }

// Volatile keeps the snapshot's record out of the synced database.
func Volatile() Option { return func(c *Config) { c.Volatile = true } }

// Layout is one snapshot on the disk, for a Driver. Directories are absolute.
type Layout struct {
	Dir      string   // its own
	Parents  []string // those of its parents, nearest first
	Kind     Kind
	Volatile bool
	Loose    bool // the first parent is not committed: it is looked at as it is
}

// Files is the directory below a snapshot's own that holds its files, with every driver.
const Files = "fs"

// Driver lays snapshots out on a file system and says how they are mounted. Probe is called once, before the others;
// what it found out about the kernel is all that a driver remembers.
type Driver interface {
	// Name is the directory of this driver's snapshots below the store's root.
	Name() string
	// Probe says why the driver cannot work in dir, an empty directory that it may fill; nil when it can.
	Probe(dir string) error
	// Create fills the new, empty directory l.Dir. What it leaves after an error is removed by the caller.
	Create(ctx context.Context, l Layout) error
	// Mounts says how the snapshot is mounted.
	Mounts(l Layout) ([]mount.Mount, error)
	// Seal frees what only an active snapshot needs; it is committed next.
	Seal(l Layout) error
}
