// Package metadata is the machine's one durable database (bbolt): JSON records by kind, namespace and key.
//
// Two files with one API: the durable one under the data root, whose commits are on disk when Update returns
// (concurrent Updates share one transaction and its syncs), and the volatile one under the exec root for what does
// not outlive a boot (tasks, `--rm` containers), which survives the daemon's death but is never synced.
//
// Layout of the file, schema 1:
//
//	schema/version                    the schema's number, decimal
//	schema/sum                        number of records and sum of their checksums, changed in the same transaction
//	v1/<kind>/<namespace>/<key>       JSON, then four bytes: CRC-32C of kind, namespace, key and JSON
//
// The checksums let Open and Check find what bbolt itself cannot: a flipped bit in a record, a record that is gone.
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

// noNamespace is the bucket of the empty namespace, which shared things (blobs, snapshots) use: bbolt has no empty
// bucket names, and no namespace can be called ".".
const noNamespace = "."
