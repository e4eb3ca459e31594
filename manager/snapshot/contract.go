// Package snapshot keeps layered root file systems: committed snapshots are immutable layers keyed by chainID,
// active ones are the writable tops of containers and of layers being unpacked.
//
// The model is containerd's: Prepare(key, parent) makes an active snapshot whose Mounts are to be written to;
// Commit(name, key) turns it into the committed name that others may have as parent; View(key, parent) is read-only.
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
	Dir       string            `json:"dir"`            // number of its directory below the snapshotter's root
	Size      int64             `json:"size,omitempty"` // bytes, of committed ones, measured at Commit
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

// Option changes how a snapshot is made.
type Option func(*Config)

// Config is what Options set.
type Config struct {
	Labels   map[string]string
	Volatile bool // its record lives in the volatile database: for `--rm` containers
}

// WithLabels adds labels to the snapshot.
func WithLabels(l map[string]string) Option { return func(c *Config) { c.Labels = l } }

// Volatile keeps the snapshot's record out of the synced database.
func Volatile() Option { return func(c *Config) { c.Volatile = true } }
