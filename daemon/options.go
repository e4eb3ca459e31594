package daemon

// option is one row of the table of all options: dockerd's flag, its key in daemon.json, and where it goes.
type option struct {
	flag, short, key string // "" where dockerd has none
	usage            string
	value            func(*Config) value // nil: not implemented
	harmless         string              // of one not implemented: the value that asks for nothing, and passes
}

// options are all of dockerd's. What Conex does not do is in the table too, so that it is refused with its name and
// never silently ignored.
var options = []option{
	{"data-root", "", "data-root", "directory of everything that lasts", func(c *Config) value { return text(&c.DataRoot) }, ""},
	{"exec-root", "", "exec-root", "directory of sockets and running state", func(c *Config) value { return text(&c.ExecRoot) }, ""},
	{"host", "H", "hosts", "listen here: unix:///path, tcp://host:port or fd:// (several)", func(c *Config) value { return texts(&c.Hosts) }, ""},
	{"group", "G", "group", "group that owns the unix sockets", func(c *Config) value { return text(&c.Group) }, ""},
	{"pidfile", "p", "pidfile", "file that gets the daemon's process id", func(c *Config) value { return text(&c.Pidfile) }, ""},
	{"config-file", "", "", "configuration file", func(c *Config) value { return text(&c.ConfigFile) }, ""},
	{"validate", "", "", "check the configuration and exit", func(c *Config) value { return flag(&c.Validate) }, ""},
	{"debug", "D", "debug", "log every request, serve /debug/pprof", func(c *Config) value { return flag(&c.Debug) }, ""},
	{"log-level", "l", "log-level", "debug, info, warn, error or fatal", func(c *Config) value { return text(&c.LogLevel) }, ""},
	{"log-format", "", "log-format", "text or json", func(c *Config) value { return text(&c.LogFormat) }, ""},

	{"tls", "", "tls", "serve tcp:// by TLS; --tls=false allows tcp:// in the clear", func(c *Config) value { return said{&c.TLS} }, ""},
	{"tlsverify", "", "tlsverify", "serve tcp:// by TLS and ask clients for a certificate", func(c *Config) value { return said{&c.TLSVerify} }, ""},
	{"tlscacert", "", "tlscacert", "certificates that sign the clients'", func(c *Config) value { return text(&c.TLSCACert) }, ""},
	{"tlscert", "", "tlscert", "the daemon's certificate", func(c *Config) value { return text(&c.TLSCert) }, ""},
	{"tlskey", "", "tlskey", "the key of the daemon's certificate", func(c *Config) value { return text(&c.TLSKey) }, ""},

	{"insecure-registry", "", "insecure-registries", "registry that may be spoken to by http or with any certificate", func(c *Config) value { return texts(&c.InsecureRegistries) }, ""},
	{"registry-config-path", "", "registry-config-paths", "directory with a directory of hosts.toml and certificates per registry (/etc/conex/certs.d, /etc/docker/certs.d)", func(c *Config) value { return texts(&c.RegistryDirs) }, ""},
	{"signature-policy", "", "signature-policy", "file that says which images may come in (/etc/conex/policy.json, if it exists)", func(c *Config) value { return text(&c.SignaturePolicy) }, ""},
	{"image-verifier-dir", "", "image-verifier-dir", "directory of programs that are asked about each image that comes in", func(c *Config) value { return text(&c.ImageVerifiers) }, ""},
	{"registry-mirror", "", "registry-mirrors", "mirror of Docker Hub", func(c *Config) value { return texts(&c.Mirrors) }, ""},
	{"max-concurrent-downloads", "", "max-concurrent-downloads", "layers that a pull downloads at once", func(c *Config) value { return number(&c.MaxDownloads) }, ""},
	{"max-concurrent-uploads", "", "max-concurrent-uploads", "layers that a push uploads at once", func(c *Config) value { return number(&c.MaxUploads) }, ""},
	{"max-download-attempts", "", "max-download-attempts", "tries of each download", func(c *Config) value { return number(&c.DownloadAttempts) }, ""},
	{"http-proxy", "", "", "proxy for http registries", func(c *Config) value { return text(&c.HTTPProxy) }, ""},
	{"https-proxy", "", "", "proxy for https registries", func(c *Config) value { return text(&c.HTTPSProxy) }, ""},
	{"no-proxy", "", "", "hosts that need no proxy, by commas", func(c *Config) value { return text(&c.NoProxy) }, ""},
	{"", "", "proxies", "", func(c *Config) value { return proxies{c} }, ""},

	{"bridge", "b", "bridge", "existing bridge for the default network, or none", func(c *Config) value { return text(&c.Bridge) }, ""},
	{"bip", "", "bip", "address and subnet of the default network", func(c *Config) value { return subnet(&c.BIP) }, ""},
	{"fixed-cidr", "", "fixed-cidr", "where the default network's addresses come from", func(c *Config) value { return subnet(&c.FixedCIDR) }, ""},
	{"default-gateway", "", "default-gateway", "gateway of the default network", func(c *Config) value { return address(&c.Gateway) }, ""},
	{"ipv6", "", "ipv6", "give the default network IPv6 as well", func(c *Config) value { return flag(&c.IPv6) }, ""},
	{"bip6", "", "bip6", "IPv6 address and subnet of the default network", func(c *Config) value { return subnet(&c.BIP6) }, ""},
	{"fixed-cidr-v6", "", "fixed-cidr-v6", "the default network's IPv6 subnet, or with --bip6 where its addresses come from", func(c *Config) value { return subnet(&c.FixedCIDR6) }, ""},
	{"default-gateway-v6", "", "default-gateway-v6", "IPv6 gateway of the default network", func(c *Config) value { return address(&c.Gateway6) }, ""},
	{"default-address-pool", "", "default-address-pools", "pool of automatic subnets, IPv4 or IPv6: base=10.0.0.0/8,size=24", func(c *Config) value { return pools{&c.Pools} }, ""},
	{"ip", "", "ip", "default address of published ports", func(c *Config) value { return address(&c.HostIP) }, ""},
	{"iptables", "", "iptables", "write firewall rules", func(c *Config) value { return flag(&c.IPTables) }, ""},
	{"firewall-policy", "", "firewall-policy", "own: published ports are open; host: the host's filter rules decide about them", func(c *Config) value { return text(&c.FirewallPolicy) }, ""},
	{"ip-forward", "", "ip-forward", "set net.ipv4.ip_forward", func(c *Config) value { return flag(&c.IPForward) }, ""},
	{"ip-masq", "", "ip-masq", "hide containers behind the host's address", func(c *Config) value { return flag(&c.IPMasq) }, ""},
	{"icc", "", "icc", "let containers of the default network reach each other", func(c *Config) value { return flag(&c.ICC) }, ""},
	{"mtu", "", "mtu", "MTU of the default network", func(c *Config) value { return number(&c.MTU) }, ""},
	{"dns", "", "dns", "containers' name server", func(c *Config) value { return addresses(&c.DNS) }, ""},
	{"dns-opt", "", "dns-opts", "containers' resolver option", func(c *Config) value { return texts(&c.DNSOptions) }, ""},
	{"dns-search", "", "dns-search", "containers' search domain", func(c *Config) value { return texts(&c.DNSSearch) }, ""},
	{"userland-proxy", "", "userland-proxy", "accepted: Conex has none and needs none", func(c *Config) value { return flag(&c.UserlandProxy) }, ""},

	{"add-runtime", "", "runtimes", "OCI runtime beside the built-in one: name=path", func(c *Config) value { return runtimes(&c.Runtimes) }, ""},
	{"default-runtime", "", "default-runtime", "runtime of containers that name none", func(c *Config) value { return text(&c.DefaultRuntime) }, ""},
	{"cgroup-parent", "", "cgroup-parent", "control group of the containers", func(c *Config) value { return text(&c.CgroupParent) }, ""},
	{"exec-opt", "", "exec-opts", "native.cgroupdriver=cgroupfs", func(c *Config) value { return texts(&c.ExecOptions) }, ""},
	{"init", "", "init", "run an init in every container", func(c *Config) value { return flag(&c.Init) }, ""},
	{"no-new-privileges", "", "no-new-privileges", "set no_new_privs for every container", func(c *Config) value { return flag(&c.NoNewPrivileges) }, ""},
	{"seccomp-profile", "", "seccomp-profile", "file with the default seccomp profile, builtin or unconfined", func(c *Config) value { return text(&c.SeccompProfile) }, ""},
	{"default-shm-size", "", "default-shm-size", "size of containers' /dev/shm", func(c *Config) value { return byteSize(&c.ShmSize) }, ""},
	{"default-ulimit", "", "default-ulimits", "containers' resource limit: name=soft:hard", func(c *Config) value { return ulimits(&c.Ulimits) }, ""},
	{"default-ipc-mode", "", "default-ipc-mode", "IPC mode of containers that say nothing: private or shareable", func(c *Config) value { return text(&c.IpcMode) }, ""},
	{"default-cgroupns-mode", "", "default-cgroupns-mode", "cgroup namespace of containers that say nothing: host or private", func(c *Config) value { return text(&c.CgroupnsMode) }, ""},
	{"host-gateway-ip", "", "host-gateway-ips", "address that host-gateway stands for in --add-host (the default bridge's gateway)", func(c *Config) value { return addresses(&c.HostGateway) }, ""},
	{"", "", "host-gateway-ip", "", func(c *Config) value { return address(&c.OldHostGateway) }, ""},
	{"cdi-spec-dir", "", "cdi-spec-dirs", "directory of files that describe devices (/etc/cdi, /var/run/cdi)", func(c *Config) value { return texts(&c.CDIDirs) }, ""},
	{"log-driver", "", "log-driver", "containers' log driver", func(c *Config) value { return text(&c.LogDriver) }, ""},
	{"log-opt", "", "log-opts", "option of the log driver: max-size=10m", func(c *Config) value { return textPairs(&c.LogOptions) }, ""},

	{"label", "", "labels", "label of the daemon: key=value", func(c *Config) value { return texts(&c.Labels) }, ""},
	{"live-restore", "", "live-restore", "accepted: containers always outlive the daemon", func(c *Config) value { return flag(&c.LiveRestore) }, ""},
	{"storage-driver", "s", "storage-driver", "overlay2, or erofs: one EROFS image a layer (Linux 6.12)", func(c *Config) value { return text(&c.StorageDriver) }, ""},
	{"snapshotter", "", "", "containerd's word for --storage-driver", func(c *Config) value { return text(&c.StorageDriver) }, ""},
	{"shutdown-timeout", "", "shutdown-timeout", "seconds that running requests get at the end", func(c *Config) value { return number(&c.ShutdownTimeout) }, ""},
	{"experimental", "", "experimental", "tell clients that experimental features are on", func(c *Config) value { return flag(&c.Experimental) }, ""},
	{"feature", "", "features", "feature switch: name=true", func(c *Config) value { return flagPairs(&c.Features) }, ""},

	{flag: "allow-direct-routing", key: "allow-direct-routing", harmless: "false"},
	{flag: "authorization-plugin", key: "authorization-plugins", harmless: "[]"},
	{flag: "bridge-accept-fwmark", key: "bridge-accept-fwmark"},
	{key: "builder", harmless: "{}"},
	{flag: "containerd", key: "containerd"},
	{flag: "containerd-namespace", key: "containerd-namespace"},
	{flag: "containerd-plugins-namespace", key: "containerd-plugins-namespace"},
	{flag: "cpu-rt-period", key: "cpu-rt-period", harmless: "0"},
	{flag: "cpu-rt-runtime", key: "cpu-rt-runtime", harmless: "0"},
	{flag: "cri-containerd", key: "cri-containerd", harmless: "false"},
	{flag: "default-network-opt", key: "default-network-opts", harmless: "{}"},
	{flag: "firewall-backend", key: "firewall-backend", harmless: "nftables"},
	{flag: "init-path", key: "init-path"},
	{flag: "ip-forward-no-drop", key: "ip-forward-no-drop", harmless: "true"},
	{flag: "ip6tables", key: "ip6tables", harmless: "true"},
	{flag: "metrics-addr", key: "metrics-addr"},
	{key: "min-api-version", harmless: "1.24"},
	{flag: "network-control-plane-mtu", key: "network-control-plane-mtu"},
	{flag: "node-generic-resource", key: "node-generic-resources", harmless: "[]"},
	{flag: "nri-opts", key: "nri-opts", harmless: "{}"},
	{flag: "raw-logs", key: "raw-logs", harmless: "false"},
	{flag: "rootless", harmless: "false"},
	{flag: "selinux-enabled", key: "selinux-enabled", harmless: "false"},
	{flag: "storage-opt", key: "storage-opts", harmless: "[]"},
	{flag: "swarm-default-advertise-addr", key: "swarm-default-advertise-addr"},
	{flag: "userland-proxy-path", key: "userland-proxy-path"},
	{flag: "userns-remap", key: "userns-remap"},
}

// name is what messages call the option: its flag where it has one.
func (o *option) name() string {
	if o.flag != "" {
		return "--" + o.flag
	}
	return o.key
}

// switches are the boolean flags among those not implemented: they take no argument.
var switches = map[string]bool{
	"allow-direct-routing": true, "cri-containerd": true, "ip-forward-no-drop": true, "ip6tables": true,
	"raw-logs": true, "rootless": true, "selinux-enabled": true,
}
