// Package docker holds the words of the Engine API that github.com/moby/moby/api has no type for: the options that
// travel as query parameters, and streams.
package docker

import (
	"time"

	"github.com/moby/moby/api/types/container"
)

// DefaultVersion is the newest API version that Conex serves, MinVersion the oldest that it negotiates down to.
const (
	DefaultVersion = "1.56"
	MinVersion     = "1.24"
)

// Filters are the parsed `filters` parameter: key -> set of values.
type Filters map[string]map[string]bool

// Has reports whether key has the value v.
func (f Filters) Has(key, v string) bool { return f[key][v] }

// Get returns the values of key.
func (f Filters) Get(key string) []string {
	var out []string
	for v, ok := range f[key] {
		if ok {
			out = append(out, v)
		}
	}
	return out
}

// ListOptions of GET /containers/json.
type ListOptions struct {
	All     bool
	Limit   int
	Size    bool
	Filters Filters
}

// ImageListOptions of GET /images/json.
type ImageListOptions struct {
	Filters    Filters
	All        bool // untagged parents too
	SharedSize bool // count what images share
	Manifests  bool // each platform
	Identity   bool // where each comes from; brings Manifests with it
}

// LogsOptions of GET /containers/{id}/logs.
type LogsOptions struct {
	Stdout, Stderr bool
	Follow         bool
	Timestamps     bool
	Details        bool
	Since, Until   time.Time // zero: unbounded
	Tail           int       // -1: all
}

// AttachOptions of POST /containers/{id}/attach.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	Stream                bool
	Logs                  bool
	DetachKeys            string // "" default ctrl-p,ctrl-q
}

// LogLine is one recorded line (or a part of one) with its trailing newline as it was written.
type LogLine struct {
	Stream string // stdout | stderr
	Time   time.Time
	Line   []byte
	Attrs  map[string]string
}

// LogReader gives log lines in order; Next returns io.EOF at the end (of a follow: when the container stopped and
// all was read). Close ends a follow.
type LogReader interface {
	Next() (LogLine, error)
	Close() error
}

// ProgressFunc is told each step of a pull, push, load or import as Docker's JSON stream message.
type ProgressFunc func(Progress)

// TransferOptions of a pull or push.
type TransferOptions struct {
	Platform string // "os/arch[/variant]"; "" the engine's choice
	AllTags  bool   // of the repository that the reference names
	Progress ProgressFunc
}

// Progress is one message of a JSON progress stream.
type Progress struct {
	ID      string
	Status  string
	Stream  string // load and build: free text
	Current int64
	Total   int64
	Aux     any
}

// Commit is what a client asks of a commit.
type Commit struct {
	Ref     string // name of the image; "" for none
	Author  string
	Comment string
	Pause   bool              // freeze the container meanwhile
	Changes []string          // Dockerfile instructions
	Config  *container.Config // goes before the container's own; nil: none
}
