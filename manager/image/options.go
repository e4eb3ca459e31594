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

// Config is the image configuration: OCI's with Docker's extensions. What OCI's type does not know (Healthcheck,
// OnBuild, Shell, ArgsEscaped) is read from Detail.RawConfig by whoever needs it.
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
	Aux     any    // push: Pushed
}

// Pushed is the Aux of a push's last Progress, with Docker's JSON names.
type Pushed struct {
	Tag    string
	Digest string
	Size   int
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
	Progress func(Progress) // called from several goroutines, never two at once; nil: none
}

// PushOptions of one push.
type PushOptions struct {
	Auth     Auth
	Platform string // "" all that is here of an index, else that platform's manifest alone
	AllTags  bool   // push every tag of the repository
	Progress func(Progress)
}

// LoadOptions of one load.
type LoadOptions struct {
	Quiet     bool     // no "Loading layer" bars
	Platforms []string // only these of each image; none: all that the archive has
	Progress  func(Progress)
	embedded  bool // the archive is part of this program
}

// VerifyOptions of one verification.
type VerifyOptions struct {
	Repair bool
	Key    []byte // PEM: demand a signature of it
	Auth   Auth   // for the registry that has the signatures
}

// ImportOptions of one import of a root file system.
type ImportOptions struct {
	Message  string              // the config's comment and history line
	Config   ocispec.ImageConfig // after the caller applied --change
	Platform string              // "" this machine's
}

// RemoveOptions of one removal.
type RemoveOptions struct {
	Force bool
	// Platforms are the only ones that go; none: the image.
	Platforms []string
	NoPrune   bool // accepted for Docker's sake; parents are not images here
	// InUse returns the ids of the containers made of the image with this ID; nil: none.
	InUse func(digest.Digest) []string
	// Running returns the ids of those that run: they are not forced. nil: none.
	Running func(digest.Digest) []string
}

// PruneOptions of one prune.
type PruneOptions struct {
	All     bool                // every image without a container, not only those without a name
	Filters map[string][]string // Docker's: "dangling", "until", "label", "label!"
	InUse   func(digest.Digest) []string
}

// Removed is one outcome of a removal, in Docker's words.
type Removed struct{ Untagged, Deleted string }

// ErrNoImage is what an unknown reference gets: Docker's own words, since tools match on them.
func ErrNoImage(ref string) error { return errdefs.NotFound("No such image: %s", ref) }
