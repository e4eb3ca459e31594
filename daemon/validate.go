package daemon

import (
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/container"
)

// validate checks what can be known without doing anything. Every error names the option and the way out.
func (c *Config) validate() error {
	if _, err := logging.ParseLevel(c.LogLevel); err != nil {
		return errdefs.InvalidArgument("--log-level: %w", err)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return errdefs.InvalidArgument("--log-format: %q must be text or json", c.LogFormat)
	}
	for _, check := range []func() error{c.validateHosts, c.validateNetwork, c.validateRegistries, c.validateContainers} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) validateHosts() error {
	for _, h := range c.Hosts {
		scheme, rest, ok := strings.Cut(h, "://")
		switch {
		case !ok || scheme != "unix" && scheme != "tcp" && scheme != "fd":
			return errdefs.InvalidArgument("--host %s: must be unix:///path, tcp://host:port or fd://", h)
		case scheme == "unix" && !strings.HasPrefix(rest, "/"):
			return errdefs.InvalidArgument("--host %s: the socket's path must be absolute: unix:///path", h)
		case scheme == "tcp":
			if err := c.validateTCP(h, rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// validateTCP refuses a network port that anybody may use: whoever reaches the API is root on the host.
func (c *Config) validateTCP(h, rest string) error {
	if strings.Contains(rest, "/") {
		return errdefs.InvalidArgument("--host %s: must be tcp://host:port", h)
	}
	if rest != "" {
		_, port, err := net.SplitHostPort(c.tcpAddress(rest))
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			return errdefs.InvalidArgument("--host %s: must be tcp://host:port: %w", h, err)
		}
	}
	switch {
	case c.verify():
	case c.TLS != nil && !*c.TLS:
	case c.TLS != nil && *c.TLS && c.TLSVerify != nil:
	case c.TLS != nil && *c.TLS:
		return errdefs.InvalidArgument("--host %s: with --tls alone anybody who reaches the port is root on this host: add --tlsverify, or --tlsverify=false to accept that", h)
	default:
		return errdefs.InvalidArgument("--host %s: without TLS anybody who reaches the port is root on this host: add --tlsverify with --tlscacert, --tlscert and --tlskey, or --tls=false to accept that", h)
	}
	if !c.encrypted() {
		return nil
	}
	files := []string{c.TLSCert, c.TLSKey}
	if c.verify() {
		files = append(files, c.TLSCACert)
	}
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return errdefs.InvalidArgument("--host %s: TLS: %w: name it with --tlscert, --tlskey and --tlscacert", h, err)
		}
	}
	return nil
}

func (c *Config) verify() bool { return c.TLSVerify != nil && *c.TLSVerify }

// encrypted reports whether tcp:// speaks TLS. As in dockerd --tlsverify implies --tls.
func (c *Config) encrypted() bool { return c.verify() || c.TLS != nil && *c.TLS }

// tcpAddress completes host:port with dockerd's defaults.
func (c *Config) tcpAddress(rest string) string {
	port := "2375"
	if c.encrypted() {
		port = "2376"
	}
	if rest == "" {
		return "127.0.0.1:" + port
	}
	if _, _, err := net.SplitHostPort(rest); err != nil && !strings.HasSuffix(rest, ":") {
		return net.JoinHostPort(strings.Trim(rest, "[]"), port)
	}
	return rest
}

func (c *Config) validateNetwork() error {
	if c.Bridge != "" && (c.BIP.IsValid() || c.BIP6.IsValid()) {
		return errdefs.InvalidArgument("--bridge and --bip or --bip6 exclude each other: the address of an existing bridge is its own")
	}
	if c.FirewallPolicy != "own" && c.FirewallPolicy != "host" {
		return errdefs.InvalidArgument("--firewall-policy %s: must be own or host", c.FirewallPolicy)
	}
	if err := c.validateNetwork6(); err != nil {
		return err
	}
	if c.FixedCIDR.IsValid() && c.BIP.IsValid() && (!c.BIP.Masked().Contains(c.FixedCIDR.Addr()) || c.FixedCIDR.Bits() < c.BIP.Bits()) {
		return errdefs.InvalidArgument("--fixed-cidr %v is not inside --bip %v", c.FixedCIDR, c.BIP)
	}
	if !c.IPTables && !c.ICC {
		return errdefs.InvalidArgument("--icc=false needs --iptables: without firewall rules nothing keeps containers apart")
	}
	for _, p := range [...]struct {
		name string
		ok   bool
	}{{"--bip", !c.BIP.IsValid() || c.BIP.Addr().Is4()}, {"--fixed-cidr", !c.FixedCIDR.IsValid() || c.FixedCIDR.Addr().Is4()}, {"--default-gateway", !c.Gateway.IsValid() || c.Gateway.Is4()}} {
		if !p.ok {
			return errdefs.InvalidArgument("%s: must be IPv4", p.name)
		}
	}
	if c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535) {
		return errdefs.InvalidArgument("--mtu %d: must be from 68 to 65535", c.MTU)
	}
	return nil
}

func (c *Config) validateNetwork6() error {
	for _, p := range [...]struct {
		name       string
		said, four bool
	}{
		{"--bip6", c.BIP6.IsValid(), c.BIP6.Addr().Is4()},
		{"--fixed-cidr-v6", c.FixedCIDR6.IsValid(), c.FixedCIDR6.Addr().Is4()},
		{"--default-gateway-v6", c.Gateway6.IsValid(), c.Gateway6.Is4()},
	} {
		if p.four {
			return errdefs.InvalidArgument("%s: must be IPv6", p.name)
		}
		if p.said && !c.IPv6 {
			return errdefs.InvalidArgument("%s needs --ipv6: without it the default network has no IPv6", p.name)
		}
	}
	if c.FixedCIDR6.IsValid() && c.BIP6.IsValid() && (!c.BIP6.Masked().Contains(c.FixedCIDR6.Addr()) || c.FixedCIDR6.Bits() < c.BIP6.Bits()) {
		return errdefs.InvalidArgument("--fixed-cidr-v6 %v is not inside --bip6 %v", c.FixedCIDR6, c.BIP6)
	}
	return nil
}

func (c *Config) validateRegistries() error {
	for _, m := range c.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return errdefs.InvalidArgument("--registry-mirror %s: must be http://host or https://host", m)
		}
	}
	for _, r := range c.InsecureRegistries {
		if r == "" || strings.Contains(r, "://") {
			return errdefs.InvalidArgument("--insecure-registry %s: must be host[:port] or a subnet, without http://", r)
		}
	}
	for _, d := range c.RegistryDirs {
		if !filepath.IsAbs(d) {
			return errdefs.InvalidArgument("--registry-config-path %s: must begin with /", d)
		}
	}
	for _, p := range [][2]string{{"signature-policy", c.SignaturePolicy}, {"image-verifier-dir", c.ImageVerifiers}} {
		if p[1] != "" && !filepath.IsAbs(p[1]) {
			return errdefs.InvalidArgument("--%s %s: must begin with /", p[0], p[1])
		}
	}
	if c.MaxDownloads < 1 || c.MaxUploads < 1 || c.DownloadAttempts < 1 {
		return errdefs.InvalidArgument("--max-concurrent-downloads, --max-concurrent-uploads and --max-download-attempts must be at least 1")
	}
	return nil
}

func (c *Config) validateContainers() error {
	if !slices.Contains([]string{"", "overlay2", "overlay", "overlayfs", "erofs"}, c.StorageDriver) {
		return errdefs.InvalidArgument("--storage-driver %s: Conex has overlay2 and erofs", c.StorageDriver)
	}
	for _, o := range c.ExecOptions {
		key, val, _ := strings.Cut(o, "=")
		switch {
		case key != "native.cgroupdriver":
			return errdefs.InvalidArgument("--exec-opt %s: the only one is native.cgroupdriver=cgroupfs", o)
		case val != "cgroupfs":
			return errdefs.NotImplemented("--exec-opt %s: Conex drives control groups itself (cgroupfs); systemd is not implemented yet", o)
		}
	}
	if !slices.Contains([]string{"", "private", "shareable"}, c.IpcMode) {
		return errdefs.InvalidArgument("--default-ipc-mode %s: use private or shareable", c.IpcMode)
	}
	if !slices.Contains([]string{"", "private", "host"}, c.CgroupnsMode) {
		return errdefs.InvalidArgument("--default-cgroupns-mode %s: use private or host", c.CgroupnsMode)
	}
	for _, l := range c.Labels {
		if k, _, ok := strings.Cut(l, "="); !ok || k == "" {
			return errdefs.InvalidArgument("--label %s: must be key=value", l)
		}
	}
	if err := container.CheckLog(c.LogDriver, c.LogOptions); err != nil {
		return errdefs.InvalidArgument("--log-driver %s and --log-opt: %w", c.LogDriver, err)
	}
	for name, r := range c.Runtimes {
		if name == "conex" || name == "" {
			return errdefs.InvalidArgument("--add-runtime %q: this name is the built-in runtime's, choose another", name)
		}
		if _, err := exec.LookPath(r.Path); err != nil {
			return errdefs.InvalidArgument("--add-runtime %s=%s: %w", name, r.Path, err)
		}
	}
	if _, ok := c.Runtimes[c.DefaultRuntime]; !ok && c.DefaultRuntime != "conex" {
		return errdefs.InvalidArgument("--default-runtime %s: add it with --add-runtime %s=PATH, or use conex", c.DefaultRuntime, c.DefaultRuntime)
	}
	if _, err := c.seccompProfile(); err != nil {
		return err
	}
	for name, u := range c.Ulimits {
		if u.Soft > u.Hard && u.Hard != -1 {
			return errdefs.InvalidArgument("--default-ulimit %s=%d:%d: the soft limit is above the hard one", name, u.Soft, u.Hard)
		}
	}
	return nil
}

// seccompProfile is the default profile's JSON, "unconfined", or "" for the built-in one.
func (c *Config) seccompProfile() (string, error) {
	switch c.SeccompProfile {
	case "", "builtin":
		return "", nil
	case "unconfined":
		return "unconfined", nil
	}
	raw, err := os.ReadFile(c.SeccompProfile)
	if err == nil && !json.Valid(raw) {
		err = errdefs.InvalidArgument("is no JSON document")
	}
	if err != nil {
		return "", errdefs.InvalidArgument("--seccomp-profile %s: %w", c.SeccompProfile, err)
	}
	return string(raw), nil
}
