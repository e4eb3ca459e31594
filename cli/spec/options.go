package spec

import (
	"time"

	"github.com/spf13/pflag"
)

// Options are the flags that `run` and `create` share. Flags registers them, Request turns them into the engine's
// create request.
type Options struct {
	flags *pflag.FlagSet

	Name, Platform, CIDFile, Pull                               string
	Hostname, Domainname, User, Workdir, Entrypoint, Runtime    string
	IPC, PID, UTS, Userns, Cgroupns, CgroupParent               string
	IPv4, IPv6, MacAddress, Restart, LogDriver, VolumeDriver    string
	StopSignal, CpusetCpus, CpusetMems, Isolation, GPUs         string
	Interactive, TTY, AutoRemove, Init, Privileged, ReadOnly    bool
	PublishAll, OOMKillDisable, NoHealthcheck                   bool
	StopTimeout, OOMScoreAdj                                    int
	CPUShares, CPUPeriod, CPUQuota, CPURTPeriod, CPURTRuntime   int64
	Swappiness, PidsLimit                                       int64
	BlkioWeight                                                 uint16
	CPUs                                                        CPUs
	Memory, MemoryReservation, MemorySwap, ShmSize              Bytes
	Attach, Env, EnvFile, Label, LabelFile, Annotation          List
	Volume, Mount, Tmpfs, VolumesFrom, Publish, Expose          List
	Network, Aliases, LinkLocal, Links, ExtraHosts              List
	DNS, DNSSearch, DNSOption, CapAdd, CapDrop, GroupAdd        List
	Device, DeviceRule, SecurityOpt, StorageOpt, Sysctl, LogOpt List
	WeightDevice, ReadBps, WriteBps, ReadIOps, WriteIOps        List
	Ulimit                                                      Ulimits
	Health                                                      Health
}

// Health are the --health flags.
type Health struct {
	Cmd                                           string
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	Retries                                       int
}

// Flags registers all flags on f.
func (o *Options) Flags(f *pflag.FlagSet) {
	o.flags = f
	o.MemorySwap.Unlimited = true
	o.general(f)
	o.storage(f)
	o.network(f)
	o.security(f)
	o.resources(f)
	o.health(f)
}

func list(f *pflag.FlagSet, l *List, name, short, usage string, check func(string) (string, error)) {
	l.Check = check
	f.VarP(l, name, short, usage)
}

func (o *Options) general(f *pflag.FlagSet) {
	f.StringVar(&o.Name, "name", "", "Assign a name to the container")
	f.StringVar(&o.Platform, "platform", "", "Set platform if server is multi-platform capable")
	f.StringVar(&o.CIDFile, "cidfile", "", "Write the container ID to the file")
	f.StringVar(&o.Pull, "pull", "missing", `Pull image before running ("always", "missing", "never")`)
	list(f, &o.Attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR", checkAttach)
	f.BoolVarP(&o.Interactive, "interactive", "i", false, "Keep STDIN open even if not attached")
	f.BoolVarP(&o.TTY, "tty", "t", false, "Allocate a pseudo-TTY")
	f.BoolVar(&o.AutoRemove, "rm", false, "Automatically remove the container and its associated anonymous volumes when it exits")
	f.BoolVar(&o.Init, "init", false, "Run an init inside the container that forwards signals and reaps processes")
	f.StringVarP(&o.User, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	f.StringVarP(&o.Workdir, "workdir", "w", "", "Working directory inside the container")
	f.StringVar(&o.Entrypoint, "entrypoint", "", "Overwrite the default ENTRYPOINT of the image")
	list(f, &o.Env, "env", "e", "Set environment variables", CheckEnv)
	list(f, &o.EnvFile, "env-file", "", "Read in a file of environment variables", nil)
	list(f, &o.Label, "label", "l", "Set meta data on a container", CheckLabel)
	list(f, &o.LabelFile, "label-file", "", "Read in a line delimited file of labels", nil)
	list(f, &o.Annotation, "annotation", "", "Add an annotation to the container (passed through to the OCI runtime)", nil)
	f.StringVar(&o.Restart, "restart", "no", "Restart policy to apply when a container exits")
	f.StringVar(&o.StopSignal, "stop-signal", "", "Signal to stop the container")
	f.IntVar(&o.StopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container")
	f.StringVar(&o.Runtime, "runtime", "", "Runtime to use for this container")
	f.StringVar(&o.LogDriver, "log-driver", "", "Logging driver for the container")
	list(f, &o.LogOpt, "log-opt", "", "Log driver options", nil)
	f.Bool("disable-content-trust", true, "Accepted for compatibility; has no effect")
	_ = f.MarkHidden("disable-content-trust")
}

func (o *Options) storage(f *pflag.FlagSet) {
	list(f, &o.Volume, "volume", "v", "Bind mount a volume", nil)
	o.Mount.Kind = "mount"
	list(f, &o.Mount, "mount", "", "Attach a filesystem mount to the container", checkMount)
	list(f, &o.Tmpfs, "tmpfs", "", "Mount a tmpfs directory", nil)
	list(f, &o.VolumesFrom, "volumes-from", "", "Mount volumes from the specified container(s)", nil)
	f.StringVar(&o.VolumeDriver, "volume-driver", "", "Optional volume driver for the container")
	f.BoolVar(&o.ReadOnly, "read-only", false, "Mount the container's root filesystem as read only")
	list(f, &o.StorageOpt, "storage-opt", "", "Storage driver options for the container", nil)
}

func (o *Options) network(f *pflag.FlagSet) {
	o.Network.Kind = "network"
	list(f, &o.Network, "network", "", "Connect a container to a network", checkNetwork)
	list(f, &o.Aliases, "network-alias", "", "Add network-scoped alias for the container", nil)
	f.Var(&o.Network, "net", "Connect a container to a network")
	f.Var(&o.Aliases, "net-alias", "Add network-scoped alias for the container")
	list(f, &o.Publish, "publish", "p", "Publish a container's port(s) to the host", nil)
	f.BoolVarP(&o.PublishAll, "publish-all", "P", false, "Publish all exposed ports to random ports")
	list(f, &o.Expose, "expose", "", "Expose a port or a range of ports", nil)
	f.StringVar(&o.IPv4, "ip", "", "IPv4 address (e.g., 172.30.100.104)")
	f.StringVar(&o.IPv6, "ip6", "", "IPv6 address (e.g., 2001:db8::33)")
	list(f, &o.LinkLocal, "link-local-ip", "", "Container IPv4/IPv6 link-local addresses", nil)
	f.StringVar(&o.MacAddress, "mac-address", "", "Container MAC address (e.g., 92:d0:c6:0a:29:33)")
	list(f, &o.Links, "link", "", "Add link to another container", CheckLink)
	f.StringVarP(&o.Hostname, "hostname", "h", "", "Container host name")
	f.StringVar(&o.Domainname, "domainname", "", "Container NIS domain name")
	list(f, &o.ExtraHosts, "add-host", "", "Add a custom host-to-IP mapping (host:ip)", CheckExtraHost)
	list(f, &o.DNS, "dns", "", "Set custom DNS servers", CheckIP)
	list(f, &o.DNSSearch, "dns-search", "", "Set custom DNS search domains", CheckDomain)
	list(f, &o.DNSOption, "dns-option", "", "Set DNS options", nil)
	f.Var(&o.DNSOption, "dns-opt", "Set DNS options")
	for _, old := range []string{"net", "net-alias", "dns-opt"} {
		_ = f.MarkHidden(old)
	}
}

func (o *Options) security(f *pflag.FlagSet) {
	f.BoolVar(&o.Privileged, "privileged", false, "Give extended privileges to this container")
	list(f, &o.CapAdd, "cap-add", "", "Add Linux capabilities", checkCapability)
	list(f, &o.CapDrop, "cap-drop", "", "Drop Linux capabilities", checkCapability)
	list(f, &o.SecurityOpt, "security-opt", "", "Security Options", nil)
	list(f, &o.GroupAdd, "group-add", "", "Add additional groups to join", nil)
	f.StringVar(&o.IPC, "ipc", "", "IPC mode to use")
	f.StringVar(&o.PID, "pid", "", "PID namespace to use")
	f.StringVar(&o.UTS, "uts", "", "UTS namespace to use")
	f.StringVar(&o.Userns, "userns", "", "User namespace to use")
	f.StringVar(&o.Cgroupns, "cgroupns", "", "Cgroup namespace to use (host|private)")
	f.StringVar(&o.CgroupParent, "cgroup-parent", "", "Optional parent cgroup for the container")
	list(f, &o.Sysctl, "sysctl", "", "Sysctl options", CheckSysctl)
	list(f, &o.Device, "device", "", "Add a host device to the container", nil)
	list(f, &o.DeviceRule, "device-cgroup-rule", "", "Add a rule to the cgroup allowed devices list", CheckDeviceRule)
	f.StringVar(&o.GPUs, "gpus", "", "GPU devices to add to the container: all, a number, or device=0,1")
	f.StringVar(&o.Isolation, "isolation", "", "Container isolation technology")
	_ = f.MarkHidden("isolation")
}

func (o *Options) resources(f *pflag.FlagSet) {
	f.VarP(&o.Memory, "memory", "m", "Memory limit")
	f.Var(&o.MemoryReservation, "memory-reservation", "Memory soft limit")
	f.Var(&o.MemorySwap, "memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap")
	f.Int64Var(&o.Swappiness, "memory-swappiness", -1, "Tune container memory swappiness (0 to 100)")
	f.Var(&o.ShmSize, "shm-size", "Size of /dev/shm")
	f.Var(&o.CPUs, "cpus", "Number of CPUs")
	f.Int64VarP(&o.CPUShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.Int64Var(&o.CPUPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	f.Int64Var(&o.CPUQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	f.Int64Var(&o.CPURTPeriod, "cpu-rt-period", 0, "Limit CPU real-time period in microseconds")
	f.Int64Var(&o.CPURTRuntime, "cpu-rt-runtime", 0, "Limit CPU real-time runtime in microseconds")
	f.StringVar(&o.CpusetCpus, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	f.StringVar(&o.CpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.Int64Var(&o.PidsLimit, "pids-limit", 0, "Tune container pids limit (set -1 for unlimited)")
	f.Var(&o.Ulimit, "ulimit", "Ulimit options")
	f.BoolVar(&o.OOMKillDisable, "oom-kill-disable", false, "Disable OOM Killer")
	f.IntVar(&o.OOMScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000)")
	f.Uint16Var(&o.BlkioWeight, "blkio-weight", 0, "Block IO (relative weight), between 10 and 1000, or 0 to disable")
	list(f, &o.WeightDevice, "blkio-weight-device", "", "Block IO weight (relative device weight)", checkWeight)
	list(f, &o.ReadBps, "device-read-bps", "", "Limit read rate (bytes per second) from a device", checkBps)
	list(f, &o.WriteBps, "device-write-bps", "", "Limit write rate (bytes per second) to a device", checkBps)
	list(f, &o.ReadIOps, "device-read-iops", "", "Limit read rate (IO per second) from a device", checkIOps)
	list(f, &o.WriteIOps, "device-write-iops", "", "Limit write rate (IO per second) to a device", checkIOps)
}

func (o *Options) health(f *pflag.FlagSet) {
	f.StringVar(&o.Health.Cmd, "health-cmd", "", "Command to run to check health")
	f.DurationVar(&o.Health.Interval, "health-interval", 0, "Time between running the check (ms|s|m|h)")
	f.IntVar(&o.Health.Retries, "health-retries", 0, "Consecutive failures needed to report unhealthy")
	f.DurationVar(&o.Health.Timeout, "health-timeout", 0, "Maximum time to allow one check to run (ms|s|m|h)")
	f.DurationVar(&o.Health.StartPeriod, "health-start-period", 0, "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)")
	f.DurationVar(&o.Health.StartInterval, "health-start-interval", 0, "Time between running the check during the start period (ms|s|m|h)")
	f.BoolVar(&o.NoHealthcheck, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}
