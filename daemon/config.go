package daemon

import (
	"net/netip"
	"path/filepath"

	"github.com/conex-containers/conex/engine/cdi"
)

// The places of the default daemon.
const (
	DefaultDataRoot   = "/var/lib/conex"
	DefaultExecRoot   = "/run/conex"
	DefaultConfigFile = "/etc/conex/daemon.json"
	socketName        = "conex.sock"
	pidfileName       = "conexd.pid"
	certificates      = "/etc/conex"
)

// Config is the daemon's whole configuration. Its fields are what dockerd's flags and daemon.json keys of the same
// names mean; options.go has the table that fills them.
type Config struct {
	DataRoot, ExecRoot  string
	Pidfile, ConfigFile string
	Hosts               []string // unix:///path, tcp://host:port, fd://
	Group               string   // owner group of unix sockets; "" root, unless the group conex exists

	Debug               bool
	LogLevel, LogFormat string // debug..fatal; text or json

	TLS, TLSVerify              *bool // nil: not said
	TLSCACert, TLSCert, TLSKey  string
	InsecureRegistries, Mirrors []string
	RegistryDirs                []string // none: registry.Config's own
	SignaturePolicy             string   // file; "": policy.DefaultFile if there is one
	ImageVerifiers              string   // directory of programs; "": none
	HTTPProxy, HTTPSProxy       string
	NoProxy                     string
	MaxDownloads, MaxUploads    int
	DownloadAttempts            int

	Bridge           string // "": the daemon's own; "none": no default network
	BIP, FixedCIDR   netip.Prefix
	IPv6             bool
	BIP6, FixedCIDR6 netip.Prefix
	Gateway6         netip.Addr
	Gateway          netip.Addr
	Pools            []Pool
	HostIP           netip.Addr // default address of published ports
	IPTables         bool
	FirewallPolicy   string // "own" or "host"
	IPForward        bool
	IPMasq, ICC      bool
	MTU              int
	DNS              []netip.Addr
	DNSOptions       []string
	DNSSearch        []string

	Runtimes       map[string]Runtime
	DefaultRuntime string
	CgroupParent   string // "": the instance's name
	ExecOptions    []string
	Init           bool
	ShmSize        int64 // bytes
	Ulimits        map[string]Ulimit
	// SeccompProfile is "" or "builtin", "unconfined", or the path of a profile.
	SeccompProfile  string
	NoNewPrivileges bool
	LogDriver       string
	LogOptions      map[string]string
	IpcMode         string // "": private
	CgroupnsMode    string // "": by the cgroup version
	HostGateway     []netip.Addr
	OldHostGateway  netip.Addr // the file's key for a single one
	CDIDirs         []string   // none: cdi.DefaultDirs

	Labels          []string
	StorageDriver   string
	ShutdownTimeout int // seconds that running requests get when the daemon stops
	Experimental    bool
	Features        map[string]bool
	LiveRestore     bool // always so
	UserlandProxy   bool // accepted: there is none
	Validate        bool // only check the configuration
}

// Pool is one pool that automatic subnets are cut from.
type Pool struct {
	Base netip.Prefix `json:"base"`
	Size int          `json:"size"` // prefix length of each subnet
}

// Runtime is a foreign OCI runtime.
type Runtime struct {
	Path string   `json:"path"`
	Args []string `json:"runtimeArgs,omitempty"`
}

// Ulimit is one default resource limit of containers.
type Ulimit struct {
	Name string `json:"Name"`
	Hard int64  `json:"Hard"`
	Soft int64  `json:"Soft"`
}

// defaults returns the configuration of a daemon that was told nothing.
func defaults() *Config {
	return &Config{
		DataRoot: DefaultDataRoot, ExecRoot: DefaultExecRoot, ConfigFile: DefaultConfigFile,
		LogLevel: "info", LogFormat: "text",
		TLSCACert: certificates + "/ca.pem", TLSCert: certificates + "/cert.pem", TLSKey: certificates + "/key.pem",
		MaxDownloads: 3, MaxUploads: 5, DownloadAttempts: 5,
		IPTables: true, FirewallPolicy: "own", IPForward: true, IPMasq: true, ICC: true,
		DefaultRuntime: "conex", ShmSize: 64 << 20, LogDriver: "json-file",
		ShutdownTimeout: 15, LiveRestore: true, UserlandProxy: true,
	}
}

// cdiDirs are the directories of device files; none when the feature is switched off.
func (c *Config) cdiDirs() []string {
	if on, said := c.Features["cdi"]; said && !on {
		return nil
	}
	if len(c.CDIDirs) > 0 {
		return c.CDIDirs
	}
	return cdi.DefaultDirs()
}

// complete fills in what follows from other values.
func (c *Config) complete() error {
	for _, p := range []*string{&c.DataRoot, &c.ExecRoot} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = resolve(abs) // shims and kernel objects are found again by these paths
	}
	if len(c.Hosts) == 0 {
		c.Hosts = []string{"unix://" + filepath.Join(c.ExecRoot, socketName)}
	}
	if c.Pidfile == "" {
		c.Pidfile = filepath.Join(c.ExecRoot, pidfileName)
	}
	if c.OldHostGateway.IsValid() && len(c.HostGateway) == 0 {
		c.HostGateway = []netip.Addr{c.OldHostGateway}
	}
	if c.Debug {
		c.LogLevel = "debug"
	}
	return nil
}
