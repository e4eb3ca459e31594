// Package spec turns a Docker container configuration into an OCI runtime configuration, as dockerd does it: a
// pure function of its Input, so that its results can be compared with golden files.
package spec

import (
	"path"
	"sort"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// InitTarget is where the init binary of `--init` is shown inside the container.
const InitTarget = "/sbin/docker-init"

// Mount is one user mount (bind, volume, tmpfs), already resolved.
type Mount struct {
	Type        string // bind | tmpfs
	Source      string // host path of a bind
	Destination string // clean absolute path inside
	Options     []string
}

// Files are the host paths of the files that are shown under /etc; empty ones are not mounted.
type Files struct {
	Hosts, Hostname, ResolvConf string
}

// Namespaces are the paths of joined namespaces ("" for an own one).
type Namespaces struct {
	Network, PID, IPC string
}

// Host is what the result depends on of the machine.
type Host struct {
	Known        []string // all capabilities, in the order of their numbers
	Capabilities []string // what the daemon may give: its own bounding set, "CAP_CHOWN" ...
	Bounds       *Bounds  // of limits; nil: none
	CgroupV2     bool
	AppArmor     bool
	SELinux      bool
	SwapLimit    bool                // the memory controller can limit swap
	Devices      []specs.LinuxDevice // all devices of /dev, for privileged containers
	MaskedExtra  []string            // further paths to mask that exist on this machine
	Seccomp      func(*specs.Spec) (*specs.LinuxSeccomp, error)
	Hostname     string
	Queues       bool // the machine has its message queues mounted at /dev/mqueue
}

// Defaults are the daemon's settings that apply where a container says nothing.
type Defaults struct {
	CgroupParent    string // "conex": cgroups are /conex/<id>
	InitPath        string // host path of the init binary; run as `<path> init -- cmd`
	Init            bool   // --init for every container
	ShmSize         int64
	Ulimits         map[string]*container.Ulimit
	NoNewPrivileges bool
	SeccompProfile  string // "" built in, "unconfined", or a profile's JSON
}

// Input is everything that Build looks at.
type Input struct {
	ID         string
	Config     *container.Config // already merged with the image's
	HostConfig *container.HostConfig
	Path       string // executable: entrypoint and command already joined
	Args       []string
	Env        []string // links and the like, before Config.Env
	User       User
	Mounts     []Mount
	Files      Files
	Shm        string // host directory of a shared /dev/shm (ipc shareable or container:), "" for an own tmpfs
	Namespaces Namespaces
	Devices    []specs.LinuxDevice       // of HostConfig.Devices
	DeviceRule []specs.LinuxDeviceCgroup // belonging to Devices
	Security   Security
	Host       Host
	Defaults   Defaults
}

// Build makes the OCI configuration. Root.Path is "rootfs": the runtime gets the root by its mounts.
func Build(in *Input) (*specs.Spec, error) {
	hc := in.HostConfig
	s := &specs.Spec{
		Version:     specs.Version,
		Root:        &specs.Root{Path: "rootfs", Readonly: hc.ReadonlyRootfs},
		Annotations: hc.Annotations,
		Linux:       &specs.Linux{},
	}
	if !hc.UTSMode.IsHost() {
		s.Hostname, s.Domainname = in.Config.Hostname, in.Config.Domainname
	}
	if err := setProcess(in, s); err != nil {
		return nil, err
	}
	setNamespaces(in, s)
	setMounts(in, s)
	if err := setResources(in, s); err != nil {
		return nil, err
	}
	setPaths(in, s)
	setSysctls(in, s)
	s.Linux.CgroupsPath = cgroupsPath(in)
	if err := setSeccomp(in, s); err != nil {
		return nil, err
	}
	return s, nil
}

func cgroupsPath(in *Input) string {
	parent := in.HostConfig.CgroupParent
	if parent == "" {
		parent = in.Defaults.CgroupParent
	}
	return path.Join("/", parent, in.ID)
}

func setProcess(in *Input, s *specs.Spec) error {
	c, hc := in.Config, in.HostConfig
	p := &specs.Process{
		Terminal:        c.Tty,
		Cwd:             c.WorkingDir,
		Env:             Environment(c.Tty, c.Hostname, in.User.Home, in.Env, c.Env),
		NoNewPrivileges: in.Security.NoNewPrivileges,
		ApparmorProfile: in.Security.AppArmor,
		OOMScoreAdj:     &hc.OomScoreAdj,
		User: specs.User{
			UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups, Umask: hc.Umask,
		},
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	if c.Tty && hc.ConsoleSize[0] > 0 && hc.ConsoleSize[1] > 0 {
		p.ConsoleSize = &specs.Box{Height: hc.ConsoleSize[0], Width: hc.ConsoleSize[1]}
	}
	if in.HasInit() {
		p.Args = append(p.Args, InitTarget, "init", "--")
	}
	p.Args = append(append(p.Args, in.Path), in.Args...)
	caps, err := Capabilities(hc.CapAdd, hc.CapDrop, hc.Privileged, in.Host)
	if err != nil {
		return err
	}
	p.Capabilities = ProcessCapabilities(caps, p.User.UID)
	p.Rlimits = Rlimits(in.Defaults.Ulimits, hc.Ulimits)
	s.Process = p
	return nil
}

// HasInit tells whether the container's process runs below an init process: only with a pid namespace of its own.
func (in *Input) HasInit() bool {
	hc := in.HostConfig
	if in.Defaults.InitPath == "" || hc.PidMode.IsHost() || hc.PidMode.IsContainer() {
		return false
	}
	if hc.Init != nil {
		return *hc.Init
	}
	return in.Defaults.Init
}

// ProcessCapabilities gives a process its capability sets: a user other than root gets only the bounding set, as
// execve(2) would leave it.
func ProcessCapabilities(caps []string, uid uint32) *specs.LinuxCapabilities {
	if uid != 0 {
		return &specs.LinuxCapabilities{Bounding: caps}
	}
	return &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
}

// Rlimits are the resource limits of a process: its own before the daemon's.
func Rlimits(defaults map[string]*container.Ulimit, own []*container.Ulimit) []specs.POSIXRlimit {
	all := map[string]*container.Ulimit{}
	for name, u := range defaults {
		all[name] = u
	}
	for _, u := range own {
		if u != nil {
			all[u.Name] = u
		}
	}
	var out []specs.POSIXRlimit
	for name, u := range all {
		out = append(out, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(name), Soft: uint64(u.Soft), Hard: uint64(u.Hard),
		})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Type < out[j].Type })
	return out
}

func setNamespaces(in *Input, s *specs.Spec) {
	hc := in.HostConfig
	add := func(t specs.LinuxNamespaceType, p string) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: t, Path: p})
	}
	add(specs.MountNamespace, "")
	if !hc.NetworkMode.IsHost() {
		add(specs.NetworkNamespace, in.Namespaces.Network)
	}
	if !hc.UTSMode.IsHost() {
		add(specs.UTSNamespace, "")
	}
	if !hc.PidMode.IsHost() {
		add(specs.PIDNamespace, in.Namespaces.PID)
	}
	if !hc.IpcMode.IsHost() {
		add(specs.IPCNamespace, in.Namespaces.IPC)
	}
	if hc.CgroupnsMode.IsPrivate() || hc.CgroupnsMode.IsEmpty() && in.Host.CgroupV2 {
		add(specs.CgroupNamespace, "")
	}
}

func setPaths(in *Input, s *specs.Spec) {
	hc := in.HostConfig
	if hc.Privileged || in.Security.SystemPathsUnconfined {
		return
	}
	s.Linux.MaskedPaths = append(append([]string{}, maskedPaths...), in.Host.MaskedExtra...)
	if hc.MaskedPaths != nil {
		s.Linux.MaskedPaths = hc.MaskedPaths
	}
	s.Linux.ReadonlyPaths = readonlyPaths
	if hc.ReadonlyPaths != nil {
		s.Linux.ReadonlyPaths = hc.ReadonlyPaths
	}
}

// setSysctls adds the two that let every user of a container open low ports and send pings: they are settings of
// the container's own network namespace.
func setSysctls(in *Input, s *specs.Spec) {
	hc := in.HostConfig
	out := map[string]string{}
	if hc.NetworkMode.IsPrivate() {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	for k, v := range hc.Sysctls {
		out[k] = v
	}
	if len(out) > 0 {
		s.Linux.Sysctl = out
	}
}
