// Package metadata is the machine's one durable database (bbolt): JSON records by kind, namespace and key.
//
// Two files with one API: the durable one under the data root, whose commits are on disk when Update returns
// (concurrent Updates share one fsync), and the volatile one under the exec root for what does not outlive a boot
// (tasks, `--rm` containers), which survives the daemon's death but is never synced.
package metadata

import (
	"time"
)

// Kind names one kind of record, a bucket of the schema.
type Kind string

// The kinds. A new kind is added here and to docs/state.md.
const (
	Images     Kind = "images"
	Blobs      Kind = "blobs"
	Snapshots  Kind = "snapshots"
	Leases     Kind = "leases"
	Containers Kind = "containers"
	Volumes    Kind = "volumes"
	Networks   Kind = "networks"
	Endpoints  Kind = "endpoints"
	Intents    Kind = "intents"
)

// Header is what every record carries; records embed it.
type Header struct {
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"createdAt"`
	UpdatedAt time.Time         `json:"updatedAt"`
}

/*
	Open(path string, Options{Volatile bool}) (*DB, error)
	(*DB) Update(ctx, func(*Tx) error) error; (*DB) View(ctx, func(*Tx) error) error; (*DB) Close() error
	(*Tx) Put(kind, namespace, key string, record any) error
	(*Tx) Get(kind, namespace, key string, into any) error        NotFound
	(*Tx) Delete(kind, namespace, key string) error               NotFound
	(*Tx) Each(kind, namespace, prefix string, func(key string, raw []byte) error) error
	(*Tx) Namespaces(kind) ([]string, error)

Blobs and snapshots are shared by all namespaces: their namespace is "".
*/
