package container

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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
	for _, line := range s.linkedHosts(rec.HostConfig) {
		b.WriteString(line + "\n")
	}
	names := rec.Config.Hostname
	if rec.Config.Domainname != "" {
		names = rec.Config.Hostname + "." + rec.Config.Domainname + " " + rec.Config.Hostname
	}
	for _, e := range endpoints {
		for _, a := range [...]netip.Prefix{e.Address, e.Address6} {
			if a.IsValid() {
				fmt.Fprintf(&b, "%s\t%s\n", a.Addr(), names)
			}
		}
	}
	return b.Bytes(), nil
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
