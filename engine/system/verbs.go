// Package system tells of the engine as a whole: version, info, disk usage.
package system

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/build"
	ctypes "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	itypes "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
	vtypes "github.com/moby/moby/api/types/volume"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/engine/cdi"
	"github.com/conex-containers/conex/engine/container"
	"github.com/conex-containers/conex/engine/logdriver"
)

// Containers are counted and measured (engine/container).
type Containers interface {
	Counts() container.Counts
	ContainerList(ctx context.Context, o docker.ListOptions) ([]ctypes.Summary, error)
}

// Images are counted and measured (engine/image).
type Images interface {
	ImageList(ctx context.Context, o docker.ImageListOptions) ([]itypes.Summary, error)
}

// Volumes are measured (engine/volume).
type Volumes interface {
	Usage(ctx context.Context, verbose bool) (*vtypes.DiskUsage, error)
	Drivers() []string
}

// Events tells what happens (engine/event).
type Events interface {
	Listeners() int
	Events(ctx context.Context, since, until time.Time, f docker.Filters, emit func(events.Message) error) error
}

// Static is what does not change while the engine runs; the daemon knows it.
type Static struct {
	ID              string // of this engine, kept across starts
	Version         string
	GitCommit       string
	BuildTime       string // RFC 3339
	DataRoot        string
	Driver          string // storage driver
	DriverStatus    [][2]string
	LogDriver       string
	CgroupV2        bool
	SwapLimit       bool
	Debug           bool
	Experimental    bool
	Labels          []string
	Runtimes        map[string]system.RuntimeWithStatus
	DefaultRuntime  string
	InitBinary      string
	Mirrors         []string
	Insecure        []string // host names of --insecure-registry
	HTTPProxy       string
	HTTPSProxy      string
	NoProxy         string
	AddressPools    []system.NetworkAddressPool
	Firewall        string // "nftables"
	FirewallInfo    [][2]string
	NoNewPrivileges bool
	CDIDirs         []string
	Warnings        []string
}

// Config is what a Service is made of.
type Config struct {
	Static     Static
	Containers Containers
	Images     Images
	Volumes    Volumes
	Events     Events
}

// Service is the system part of the engine.
type Service struct{ cfg Config }

// New makes the service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

// Events calls emit for past events between since and until and then for each new one; see event.Bus.
func (s *Service) Events(ctx context.Context, since, until time.Time, f docker.Filters, emit func(events.Message) error) error {
	return s.cfg.Events.Events(ctx, since, until, f, emit)
}

// Version tells versions; the API's own are filled in by the door that serves them.
func (s *Service) Version(context.Context) (system.VersionResponse, error) {
	st := s.cfg.Static
	kernel := kernelVersion()
	return system.VersionResponse{
		Platform: system.PlatformInfo{Name: "Conex"}, Version: st.Version, APIVersion: docker.DefaultVersion, MinAPIVersion: docker.MinVersion,
		Os: runtime.GOOS, Arch: runtime.GOARCH, GitCommit: st.GitCommit, GoVersion: runtime.Version(), KernelVersion: kernel,
		Experimental: st.Experimental, BuildTime: st.BuildTime,
		Components: []system.ComponentVersion{{
			Name: "Engine", Version: st.Version, Details: map[string]string{
				"ApiVersion": docker.DefaultVersion, "MinAPIVersion": docker.MinVersion, "Arch": runtime.GOARCH, "Os": runtime.GOOS,
				"BuildTime": st.BuildTime, "Experimental": strconv.FormatBool(st.Experimental), "GitCommit": st.GitCommit,
				"GoVersion": runtime.Version(), "KernelVersion": kernel,
			},
		}},
	}, nil
}

// Info tells what `docker info` prints, all of it looked up.
func (s *Service) Info(ctx context.Context) (system.Info, error) {
	st := s.cfg.Static
	images, err := s.cfg.Images.ImageList(ctx, docker.ImageListOptions{All: true})
	if err != nil {
		return system.Info{}, fmt.Errorf("info: %w", err)
	}
	n := s.cfg.Containers.Counts()
	out := system.Info{
		ID: st.ID, Containers: n.All, ContainersRunning: n.Running, ContainersPaused: n.Paused, ContainersStopped: n.Stopped,
		Images: len(images), Driver: st.Driver, DriverStatus: st.DriverStatus,
		Plugins: system.PluginsInfo{
			Volume: s.cfg.Volumes.Drivers(), Network: []string{"bridge", "host", "ipvlan", "macvlan", "null"}, Log: logdriver.Names(),
		},
		MemoryLimit: true, SwapLimit: st.SwapLimit, CPUCfsPeriod: true, CPUCfsQuota: true, CPUShares: true, CPUSet: true, PidsLimit: true,
		OomKillDisable: !st.CgroupV2, IPv4Forwarding: readFile("/proc/sys/net/ipv4/ip_forward") == "1",
		Debug: st.Debug, NFd: openFiles(), NGoroutines: runtime.NumGoroutine(), SystemTime: time.Now().Format(time.RFC3339Nano),
		LoggingDriver: st.LogDriver, CgroupDriver: "cgroupfs", CgroupVersion: "1", NEventsListener: s.cfg.Events.Listeners(),
		KernelVersion: kernelVersion(), OSType: runtime.GOOS, Architecture: machine(), IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig: st.registries(), NCPU: runtime.NumCPU(), DockerRootDir: st.DataRoot,
		HTTPProxy: st.HTTPProxy, HTTPSProxy: st.HTTPSProxy, NoProxy: st.NoProxy, Labels: st.Labels, ExperimentalBuild: st.Experimental,
		ServerVersion: st.Version, Runtimes: st.Runtimes, DefaultRuntime: st.DefaultRuntime, LiveRestoreEnabled: true,
		InitBinary: st.InitBinary, SecurityOptions: []string{"name=seccomp,profile=builtin"}, DefaultAddressPools: st.AddressPools,
		CDISpecDirs: []string{}, Warnings: st.Warnings,
	}
	if len(st.CDIDirs) > 0 {
		out.CDISpecDirs = st.CDIDirs
		for _, name := range cdi.Load(st.CDIDirs).Names() {
			out.DiscoveredDevices = append(out.DiscoveredDevices, system.DeviceInfo{Source: cdi.Driver, ID: name})
		}
	}
	out.Swarm.LocalNodeState = "inactive"
	out.RuncCommit.ID, out.ContainerdCommit.ID, out.InitCommit.ID = st.GitCommit, st.GitCommit, st.GitCommit
	out.OperatingSystem, out.OSVersion = operatingSystem()
	out.MemTotal = memoryTotal()
	out.Name, _ = os.Hostname()
	if st.CgroupV2 {
		out.CgroupVersion = "2"
		out.SecurityOptions = append(out.SecurityOptions, "name=cgroupns")
	}
	if st.NoNewPrivileges {
		out.SecurityOptions = append(out.SecurityOptions, "name=no-new-privileges")
	}
	if st.Firewall != "" {
		out.FirewallBackend = &system.FirewallInfo{Driver: st.Firewall, Info: st.FirewallInfo}
	}
	if out.Labels == nil {
		out.Labels = []string{}
	}
	if !st.SwapLimit {
		out.Warnings = append(slices.Clone(out.Warnings), "WARNING: No swap limit support")
	}
	return out, nil
}

func (st *Static) registries() *registry.ServiceConfig {
	mirrors := st.Mirrors
	if mirrors == nil {
		mirrors = []string{}
	}
	out := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")}, // always, as in dockerd
		Mirrors:               mirrors, IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: mirrors, Secure: true, Official: true},
		},
	}
	for _, host := range st.Insecure {
		if network, err := netip.ParsePrefix(host); err == nil {
			if !slices.Contains(out.InsecureRegistryCIDRs, network) {
				out.InsecureRegistryCIDRs = append(out.InsecureRegistryCIDRs, network)
			}
			continue
		}
		out.IndexConfigs[host] = &registry.IndexInfo{Name: host, Mirrors: []string{}}
	}
	return out
}

// DiskUsage tells what is used by the kinds of objects that are asked for; verbose lists each.
func (s *Service) DiskUsage(ctx context.Context, kinds []string, verbose bool) (system.DiskUsage, error) {
	var out system.DiskUsage
	want := func(k system.DiskUsageObject) bool {
		return len(kinds) == 0 || slices.Contains(kinds, string(k))
	}
	if want(system.ImageObject) {
		u, err := s.imageUsage(ctx, verbose)
		if err != nil {
			return out, fmt.Errorf("disk usage: %w", err)
		}
		out.ImageUsage = u
	}
	if want(system.ContainerObject) {
		u, err := s.containerUsage(ctx, verbose)
		if err != nil {
			return out, fmt.Errorf("disk usage: %w", err)
		}
		out.ContainerUsage = u
	}
	if want(system.VolumeObject) {
		u, err := s.cfg.Volumes.Usage(ctx, verbose)
		if err != nil {
			return out, err
		}
		out.VolumeUsage = u
	}
	if want(system.BuildCacheObject) {
		out.BuildCacheUsage = &build.DiskUsage{}
	}
	return out, nil
}

func (s *Service) imageUsage(ctx context.Context, verbose bool) (*itypes.DiskUsage, error) {
	list, err := s.cfg.Images.ImageList(ctx, docker.ImageListOptions{All: true, SharedSize: true})
	if err != nil {
		return nil, err
	}
	out := &itypes.DiskUsage{TotalCount: int64(len(list))}
	for _, i := range list {
		own := i.Size - max(i.SharedSize, 0)
		out.TotalSize += own
		if i.Containers > 0 {
			out.ActiveCount++
		} else {
			out.Reclaimable += own
		}
	}
	if verbose {
		out.Items = list
	}
	return out, nil
}

func (s *Service) containerUsage(ctx context.Context, verbose bool) (*ctypes.DiskUsage, error) {
	list, err := s.cfg.Containers.ContainerList(ctx, docker.ListOptions{All: true, Size: true})
	if err != nil {
		return nil, err
	}
	out := &ctypes.DiskUsage{TotalCount: int64(len(list))}
	for _, c := range list {
		out.TotalSize += c.SizeRw
		switch c.State {
		case ctypes.StateRunning, ctypes.StatePaused, ctypes.StateRestarting:
			out.ActiveCount++
		default:
			out.Reclaimable += c.SizeRw
		}
	}
	if verbose {
		out.Items = list
	}
	return out, nil
}

func readFile(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

func kernelVersion() string { return readFile("/proc/sys/kernel/osrelease") }

func machine() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return runtime.GOARCH
	}
	return unix.ByteSliceToString(u.Machine[:])
}

func memoryTotal() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit))
}

// operatingSystem reads os-release(5).
func operatingSystem() (name, version string) {
	text := readFile("/etc/os-release")
	if text == "" {
		text = readFile("/usr/lib/os-release")
	}
	name = "Linux"
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		if v, err := strconv.Unquote(value); err == nil {
			value = v
		}
		switch key {
		case "PRETTY_NAME":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return name, version
}
