package audit

import (
	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/network"
)

// Target names the daemon that is audited.
type Target struct {
	DataRoot, ExecRoot string
	Instance           string // prefix of its kernel objects: "conex", "cx1a2b3c"
	CgroupParent       string
	HostPolicy         bool // --firewall-policy=host
}

// Task names a task: a namespace ("moby") and an id.
type Task struct{ Namespace, ID string }

func (t Task) String() string { return t.Namespace + "/" + t.ID }

// Records are what the databases say.
type Records struct {
	Containers map[Task]bool
	Running    map[Task][]network.Endpoint
	Networks   map[string]network.Network // by id
	Volumes    map[string]bool
	Attached   map[Task][]string   // names of the volumes that are mounted while a container runs
	Snapshots  map[string]Snapshot // by key
	Blobs      map[digest.Digest]int64
	Roots      []digest.Digest // what the images point at
	Leased     map[string]bool // digests and snapshot keys that a lease keeps
	Damage     []string        // what the databases' own check found
}

// Snapshot is one snapshot's record.
type Snapshot struct {
	Dir    string // below the snapshotter's root: "overlay/12"
	Parent string
	Active bool
	Owner  string // the container whose view of an image it is
}

// Kernel is what the kernel holds.
type Kernel struct {
	Mounts     []Mount
	Shims      []Shim
	Cgroups    []Cgroup
	Links      []Link
	Firewall   []string // differences between the nft table and the records, in words
	Namespaces []Namespace
	Endpoints  []network.Endpoint // whose addresses and ports a running daemon holds
}

// Mount is one line of a mountinfo(5).
type Mount struct {
	Pid       int    // a process that has it in its mount namespace
	Point     string // mount point
	Type      string
	Source    string
	Options   string // of the file system
	Container bool   // the namespace is a recorded container's
}

// Shim is a conex-shim process.
type Shim struct {
	Pid    int
	Bundle string
}

// Cgroup is one control group below the instance's parent.
type Cgroup struct {
	Hierarchy string // directory of the hierarchy: /sys/fs/cgroup/memory
	Path      string // from the hierarchy's root: /conex/<id>
	Pids      []int
}

// Link is a network interface of the host.
type Link struct{ Name, Alias, Kind string }

// Namespace is a network namespace that the daemon holds open.
type Namespace struct {
	Inode string
	Owned bool // a shim or a container's process has it too
}

// Disk is what lies below both roots.
type Disk struct {
	Bundles   map[Task]Bundle
	Runtime   []Task   // directories of the runtime's state
	Container []string // names below containers/
	// RunContainer are the names below the exec root's containers/.
	RunContainer []string
	Volumes      []string        // names below volumes/
	Snapshots    map[string]bool // "overlay/12"
	Trash        []string
	Blobs        map[digest.Digest]int64
	Reachable    map[digest.Digest]bool // from Records.Roots, by following the blobs
	Chains       map[string]bool        // snapshot keys that reachable image configurations name
	Ingests      []string
	Temps        []string
}

// Bundle is what a bundle's config.json says of where its container is.
type Bundle struct {
	Cgroup string // "" when there is no readable configuration
}
