// Package image names root file systems: an image record points a reference at a manifest or index in the content
// store; pulling, pushing, loading, saving and importing move images in and out.
package image

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// Image is one record: a full reference ("docker.io/library/nginx:1.25", or "...@sha256:..." ) and its target.
// Docker's image ID is the target's digest.
type Image struct {
	metadata.Header
	Name   string             `json:"name"`
	Target ocispec.Descriptor `json:"target"`
}

// Detail is everything that a container or a client needs of an image for this machine's platform.
type Detail struct {
	ID           digest.Digest      // target digest, Docker's image ID
	Names        []string           // all references of this target, familiar form ("nginx:1.25")
	Digests      []string           // repository@digest, familiar form
	Target       ocispec.Descriptor // index or manifest
	Manifest     ocispec.Descriptor // this platform's manifest
	ConfigDigest digest.Digest
	Config       Config
	RawConfig    []byte
	Layers       []ocispec.Descriptor // compressed layers, base first
	ChainID      string               // snapshot key of the whole file system ("" for an empty image)
	Size         int64                // bytes of content (compressed) + unpacked snapshots
	CreatedAt    time.Time
	Labels       map[string]string
}

// Config is the image configuration: OCI's with Docker's extensions (Healthcheck, OnBuild, Shell, ArgsEscaped).
type Config struct {
	ocispec.Image
	DockerVersion string `json:"docker_version,omitempty"`
	Comment       string `json:"comment,omitempty"`
	Container     string `json:"container,omitempty"`
}

// Progress is one line of what a pull, push or load does; server/docker turns it into Docker's JSON progress.
type Progress struct {
	ID      string // short layer digest, or tag; "" for a line of its own
	Status  string // Docker's words: "Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete", "Already exists", "Pushing", "Pushed", "Layer already exists"
	Current int64  // bytes
	Total   int64  // bytes, 0: unknown
	Aux     any    // push: {Tag, Digest, Size}
}

// Auth are the credentials of one request, as X-Registry-Auth carries them.
type Auth struct {
	Username, Password, IdentityToken, RegistryToken, ServerAddress string
}

// PullOptions of one pull.
type PullOptions struct {
	Auth     Auth
	Platform string // "" this machine's, or "os/arch[/variant]"
	AllTags  bool
	Progress func(Progress)
}

// Removed is one outcome of a removal, in Docker's words.
type Removed struct{ Untagged, Deleted string }

// ErrNoImage is what an unknown reference gets: Docker's own words, since tools match on them.
func ErrNoImage(ref string) error { return errdefs.NotFound("No such image: %s", ref) }

/*
The service (namespace comes first; Docker's is "moby"):

	New(Config{Content, Snapshots, DB, Leases, Registry, Events}) *Service
	ParseReference(string) (Reference, error)   Docker's familiar grammar -> canonical; Reference{Domain, Path, Tag, Digest}; String(), Familiar()
	Pull(ctx, ns, ref string, PullOptions) (Image, error)
	Push(ctx, ns, ref string, PullOptions) error
	Load(ctx, ns, io.Reader, quiet bool, func(Progress)) ([]Image, error)   docker archive or OCI layout tar, plain, gzip or zstd
	Save(ctx, ns, refs []string, io.Writer) error                           both formats in one tar, as docker 25+ writes it
	Import(ctx, ns, src io.Reader, ref string, changes Config/message) (Image, error)
	Tag(ctx, ns, source, target string) error
	Remove(ctx, ns, ref string, RemoveOptions{Force, NoPrune bool; InUse func(digest) []string}) ([]Removed, error)
	Prune(ctx, ns, PruneOptions{All bool, Filters, InUse}) ([]Removed, int64, error)
	List(ctx, ns) ([]Detail, error)
	Get(ctx, ns, refOrID string) (Detail, error)     familiar name, full name, ID or unique prefix of it, config digest
	Unpack(ctx, Detail) (chainID string, err error)  make sure that the snapshots exist (idempotent; used before a container is made)
*/
