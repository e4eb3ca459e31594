package docker

// The words of Conex' own endpoints below /conex/images: what images are made of.

// ImageTree is the answer of GET /conex/images/tree: images with their layers, base first.
type ImageTree struct {
	Images []TreeImage
}

// TreeImage is one image, of this machine's platform.
type TreeImage struct {
	ID       string
	Names    []string
	Platform string
	Layers   []TreeLayer
}

// TreeLayer is one layer of an image.
type TreeLayer struct {
	ChainID    string // of this layer and all below it; equal ones are stored once
	DiffID     string
	Digest     string   // of the blob
	Size       int64    // bytes of the blob
	Unpacked   int64    // bytes of its files on the disk, -1 when it is not unpacked
	CreatedBy  string   `json:",omitempty"`
	SharedWith []string `json:",omitempty"` // other images with the same layer at the same place: a name, or the ID
}

// The kinds of ImageChange.Change.
const (
	Added   = "added"
	Changed = "changed"
	Removed = "removed"
)

// ImageFiles is the answer of GET /conex/images/{name}/files.
type ImageFiles struct {
	ID       string
	Platform string
	Layers   []LayerFiles
	Bytes    int64        // of all regular files of all layers
	Wasted   int64        // of those, bytes of files that a later layer replaced or removed
	Waste    []WastedFile // the files that Wasted is made of, largest first
}

// LayerFiles is what one layer did to those below it. Number counts from 1, the base.
type LayerFiles struct {
	Number                  int
	Digest                  string
	Size                    int64  // bytes of the blob
	CreatedBy               string `json:",omitempty"`
	Added, Changed, Removed ChangeSum
	Files                   []ImageChange
}

// ChangeSum counts files. Bytes of changed ones are those of their new content, of removed ones those that went.
type ChangeSum struct {
	Files int64
	Bytes int64
}

// ImageChange is one path that a layer added, changed or removed.
type ImageChange struct {
	Path   string
	Change string
	Kind   string `json:",omitempty"` // file, directory, link, hardlink, device, fifo; "" of what was removed with all below it
	Size   int64  // bytes of a regular file, after the change
	Before int64  `json:",omitempty"` // bytes of the regular files that it replaced or removed
}

// WastedFile is a path whose content is in the image more often than once, or though it was removed.
type WastedFile struct {
	Path  string
	Bytes int64 // that no container sees
	Times int   // versions that were replaced or removed
}

// ImageVerification is the answer of POST /conex/images/{name}/verify.
type ImageVerification struct {
	ID        string
	Blobs     int   // checked
	Snapshots int   // checked
	Bytes     int64 // read
	Damage    []ImageDamage
	Admission []ImageAdmission `json:",omitempty"` // by the engine's policy, or of a key; none where there is no policy
}

// ImageVerify is what POST /conex/images/{name}/verify is asked for.
type ImageVerify struct {
	Repair bool
	Key    string // a public key in PEM: the image must have a signature of it
}

// ImageAdmission is what the policy says of an image today.
type ImageAdmission struct {
	Reference string
	Rule      string // of the policy
	Problem   string `json:",omitempty"` // why it is refused
}

// ImageDamage is one thing that is not what its digest says.
type ImageDamage struct {
	Kind     string // blob, snapshot
	ID       string // digest, chainID
	Problem  string
	Repaired bool // a blob was thrown away, and the next pull brings it anew; a snapshot was unpacked again
}
