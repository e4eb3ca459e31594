package docker

// Explanation is the answer of GET /conex/containers/{id}/explain: what the kernel holds for a running container, and
// what each of it is for. Nothing in it is taken from the records where the kernel can be asked.
type Explanation struct {
	ID      string
	Name    string
	Image   string
	State   string
	Runtime string

	Processes  []ExplainedProcess // the daemon, its shim, and all of the container, parents first
	Namespaces []ExplainedNamespace
	Users      []ExplainedMapping `json:",omitempty"` // of a user namespace: whom the container's users are outside
	Security   ExplainedSecurity
	Cgroup     ExplainedCgroup
	Layers     []ExplainedLayer // of the root file system, the writable one first
	Mounts     []ExplainedMount
	Networks   []ExplainedEndpoint `json:",omitempty"`
	Listening  []ExplainedListener `json:",omitempty"`
}

// The roles of ExplainedProcess.
const (
	RoleDaemon = "daemon"
	RoleShim   = "shim"
	RoleInit   = "init" // the container's own process
	RoleChild  = "child"
	RoleExec   = "exec" // the first process of an exec
)

// ExplainedProcess is one process by the host's numbers; Inside is its number in the container, 0 outside of it.
type ExplainedProcess struct {
	Pid     int
	Parent  int
	Inside  int `json:",omitempty"`
	Role    string
	Command []string
	UID     int // the host's
	Threads int
}

// ExplainedNamespace is one of the first process's namespaces.
type ExplainedNamespace struct {
	Kind  string
	Inode uint64
	Host  bool // the daemon is in the same one
}

// ExplainedMapping is a range of user numbers.
type ExplainedMapping struct {
	Inside, Outside, Count uint32
}

// ExplainedSecurity is what holds the first process back.
type ExplainedSecurity struct {
	UID            int
	GID            int
	Groups         []int    `json:",omitempty"`
	Effective      []string // capabilities that it has now
	Bounding       []string // that it, or what it executes, can ever have
	NoNewPrivs     bool
	Seccomp        string // "none", "strict", "filters"
	SeccompFilters int    `json:",omitempty"`
	Label          string `json:",omitempty"` // AppArmor's or SELinux's
	OOMScoreAdj    int
}

// ExplainedCgroup is the container's control group.
type ExplainedCgroup struct {
	Paths  map[string]string // directory by controller; "" is cgroup v2
	Limits []ExplainedLimit
	Memory uint64 // bytes used now
	Peak   uint64 `json:",omitempty"`
	CPU    uint64 // nanoseconds used so far
	Tasks  uint64
}

// ExplainedLimit is one control file that bounds something.
type ExplainedLimit struct {
	File  string
	Value string
	Text  string // in words
}

// ExplainedLayer is one directory of the root's overlay.
type ExplainedLayer struct {
	Dir      string
	Writable bool   `json:",omitempty"`
	ChainID  string `json:",omitempty"` // of the image's layer
	Size     int64  // bytes of its files
}

// ExplainedMount is one line of the container's mount table; Origin says in words what is behind it.
type ExplainedMount struct {
	Target  string
	Type    string
	Source  string
	Options string
	Origin  string
}

// ExplainedEndpoint is one interface of the container, from the inside out.
type ExplainedEndpoint struct {
	Network   string
	Interface string
	MAC       string
	Addresses []string
	Gateways  []string `json:",omitempty"`
	Parent    string   `json:",omitempty"` // of macvlan and ipvlan: the host's interface that carries it; there is no pair then
	HostLink  string   // the other end of the pair, on the host
	HostIndex int      // its number; 0: it is gone
	Bridge    string
	Up        bool
	Rules     []ExplainedRule `json:",omitempty"`
}

// ExplainedRule is one nftables element that is there for a published port, as nft(8) writes it.
type ExplainedRule struct {
	Text    string
	Present bool // in the kernel
}

// ExplainedListener is a socket of the container's network namespace that waits for others.
type ExplainedListener struct {
	Proto   string
	Address string
}
