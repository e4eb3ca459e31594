package docker

// Copy is the parameter `copy` of POST /conex/copy, a JSON document: what goes where.
//
// An archive travels in the request's body when it is the source, as the answer's body when it is the target: the
// engine opens no file on a client's behalf. Otherwise the answer is a JSON progress stream.
type Copy struct {
	Source, Target CopyPlace
	Platform       string   `json:",omitempty"` // "os/arch[/variant]"; "" all of an index
	AllReferrers   bool     `json:",omitempty"` // signatures, attestations and what else refers to the image too
	Have           []string `json:",omitempty"` // digests of blobs that the archive's reader has already
}

// The kinds of CopyPlace.
const (
	CopyRegistry      = "registry"       // Name is a reference
	CopyStore         = "store"          // Name is an image of the engine
	CopyLayout        = "layout"         // an OCI layout as a tar; Name is a tag, "" the only one
	CopyDockerArchive = "docker-archive" // as `docker save` writes; Name is a reference, "" the only one
)

// CopyPlace is an end of a copy.
type CopyPlace struct {
	Kind string
	Name string `json:",omitempty"`
}

// TargetAuthHeader has the credentials of a copy's target, as X-Registry-Auth has the source's.
const TargetAuthHeader = "X-Conex-Target-Auth"
