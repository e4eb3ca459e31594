package container

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/network"
)

const hostsHead = `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`

// publicDNS are used where the host has only a resolver on its own loopback, as dockerd does.
var publicDNS = []string{"8.8.8.8", "8.8.4.4"}

// files returns the paths of a container's /etc files. An `--rm` container is gone with its first run, so nobody asks
// for them afterwards: they are on the exec root, where files cost no journal. Others' are in the container's
// directory, which a stopped one keeps.
func (s *Service) files(rec *Record) spec.Files {
	dir := s.dir(rec.ID)
	if rec.HostConfig.AutoRemove {
		dir = s.runDir(rec.ID)
	}
	return spec.Files{
		Hosts: filepath.Join(dir, "hosts"), Hostname: filepath.Join(dir, "hostname"), ResolvConf: filepath.Join(dir, "resolv.conf"),
	}
}

// writeFiles writes hosts, hostname and resolv.conf for a run. They are written in place and not synced: a running
// container has them mounted, and each start writes them anew.
func (s *Service) writeFiles(rec *Record, endpoints []network.Endpoint) (spec.Files, error) {
	f := s.files(rec)
	hosts, err := s.hosts(rec, endpoints)
	if err != nil {
		return f, err
	}
	resolv, err := s.resolvConf(rec)
	if err != nil {
		return f, err
	}
	if err := makeDir(filepath.Dir(f.Hosts)); err != nil {
		return f, fmt.Errorf("container %s: %w", rec.ID, err)
	}
	for _, w := range []struct {
		path string
		data []byte
	}{
		{f.Hosts, hosts}, {f.Hostname, []byte(rec.Config.Hostname + "\n")}, {f.ResolvConf, resolv},
	} {
		if err := os.WriteFile(w.path, w.data, 0o644); err != nil {
			return f, fmt.Errorf("container %s: %w", rec.ID, err)
		}
	}
	return f, nil
}

func (s *Service) hosts(rec *Record, endpoints []network.Endpoint) ([]byte, error) {
	var b bytes.Buffer
	if rec.HostConfig.NetworkMode.IsHost() {
		data, err := os.ReadFile("/etc/hosts")
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("container %s: %w", rec.ID, err)
		}
		b.Write(data)
		if n := len(data); n > 0 && data[n-1] != '\n' {
			b.WriteByte('\n')
		}
	} else {
		b.WriteString(hostsHead)
	}
	for _, h := range rec.HostConfig.ExtraHosts {
		name, ip := splitHost(h)
		if ip != "host-gateway" {
			fmt.Fprintf(&b, "%s\t%s\n", ip, name)
			continue
		}
		gateways := s.hostGateways()
		if len(gateways) == 0 {
			return nil, errdefs.InvalidArgument("unable to derive the IP value for host-gateway: set --host-gateway-ip")
		}
		for _, g := range gateways {
			fmt.Fprintf(&b, "%s\t%s\n", g, name)
		}
	}
	if err := s.linkedHosts(&b, rec); err != nil {
		return nil, err
	}
	names := rec.Config.Hostname
	if rec.Config.Domainname != "" {
		names = rec.Config.Hostname + "." + rec.Config.Domainname + " " + rec.Config.Hostname
	}
	for _, e := range endpoints {
		if e.Address.IsValid() {
			fmt.Fprintf(&b, "%s\t%s\n", e.Address.Addr(), names)
		}
	}
	return b.Bytes(), nil
}

// linkedHosts writes the names of --link.
func (s *Service) linkedHosts(b *bytes.Buffer, rec *Record) error {
	for _, l := range rec.HostConfig.Links {
		name, alias, ok := strings.Cut(l, ":")
		if !ok {
			alias = name
		}
		other, err := s.index.find(name)
		if err != nil {
			return errdefs.InvalidArgument("could not get container for %s: %w", name, err)
		}
		v := other.view()
		if !v.alive() {
			return errdefs.InvalidArgument("Cannot link to a non running container: /%s AS /%s/%s", v.Name, rec.Name, alias)
		}
		for _, e := range v.Run.Endpoints {
			fmt.Fprintf(b, "%s\t%s %s %s\n", e.Address.Addr(), alias, v.Config.Hostname, v.Name)
		}
	}
	return nil
}

// splitHost reads "name:ip" or "name=ip"; the address may be IPv6, in brackets or not.
func splitHost(h string) (name, ip string) {
	at := strings.IndexAny(h, ":=")
	if at <= 0 {
		return "", ""
	}
	name, ip = h[:at], strings.TrimSuffix(strings.TrimPrefix(h[at+1:], "["), "]")
	if ip == "host-gateway" {
		return name, ip
	}
	if _, err := netip.ParseAddr(ip); err != nil || strings.ContainsAny(name, " \t\n") {
		return "", ""
	}
	return name, ip
}

// hostGateways are the addresses of the host as containers see it.
func (s *Service) hostGateways() []netip.Addr {
	if len(s.cfg.HostGateway) > 0 {
		return s.cfg.HostGateway
	}
	n, err := s.cfg.Network.Network("bridge")
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, sub := range n.Subnets {
		out = append(out, sub.Gateway)
	}
	return out
}

// resolvConf is the host's file with the container's and the daemon's settings in place of its own. Resolvers on
// the host's loopback cannot be reached from a network namespace and are left out.
func (s *Service) resolvConf(rec *Record) ([]byte, error) {
	hc := rec.HostConfig
	host, err := hostResolvConf()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", rec.ID, err)
	}
	own := resolver{}
	for _, a := range firstOf(hc.DNS, s.cfg.DNS) {
		own.servers = append(own.servers, a.String())
	}
	own.options, own.search = firstOf(hc.DNSOptions, s.cfg.DNSOptions), firstOf(hc.DNSSearch, s.cfg.DNSSearch)
	r := parseResolver(host)
	if hc.NetworkMode.IsHost() && len(own.servers)+len(own.options)+len(own.search) == 0 {
		return host, nil
	}
	if !hc.NetworkMode.IsHost() {
		r.servers = slices.DeleteFunc(r.servers, loopback)
	}
	if len(own.servers) > 0 {
		r.servers = own.servers
	}
	if len(r.servers) == 0 && !hc.NetworkMode.IsNone() {
		r.servers = publicDNS
	}
	if len(own.options) > 0 {
		r.options = own.options
	}
	if len(own.search) > 0 {
		r.search = own.search
		if len(own.search) == 1 && own.search[0] == "." {
			r.search = nil
		}
	}
	return r.bytes(), nil
}

func firstOf[T any](a, b []T) []T {
	if len(a) > 0 {
		return a
	}
	return b
}

// resolver is what resolv.conf(5) can say.
type resolver struct {
	servers, search, options []string
}

func parseResolver(data []byte) resolver {
	var r resolver
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.servers = append(r.servers, f[1])
		case "search", "domain":
			r.search = f[1:]
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

func (r *resolver) bytes() []byte {
	var b bytes.Buffer
	for _, n := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.Bytes()
}

func loopback(server string) bool {
	a, err := netip.ParseAddr(server)
	return err != nil || a.IsLoopback()
}

// hostResolvConf reads the host's resolvers; systemd-resolved's stub is passed over for what it forwards to.
func hostResolvConf() ([]byte, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r := parseResolver(data); len(r.servers) == 1 && r.servers[0] == "127.0.0.53" {
		if real, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			return real, nil
		}
	}
	return data, nil
}
