package network

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network/portmap"
)

// giveAddresses takes the wanted or the next free address of each of the network's subnets, and derives the hardware address.
func (s *Service) giveAddresses(e *Endpoint, m *member, r Request, undo *cleanup.Stack) error {
	for _, a := range []netip.Addr{r.IPv4, r.IPv6} {
		if a.IsValid() && m.Network.subnet(a.Is6()) == nil {
			return errdefs.InvalidArgument("address %s: no subnet of the network is of its family", a)
		}
	}
	for i, sub := range m.Subnets {
		a, err := m.take(i, r, undo)
		if err != nil {
			return err
		}
		gateway := sub.Gateway
		if m.Internal || m.mode(a) == ModeIsolated || m.layer3() {
			gateway = netip.Addr{}
		}
		if a.Is4() {
			e.Address, e.Gateway = netip.PrefixFrom(a, sub.Prefix.Bits()), gateway
		} else {
			e.Address6, e.Gateway6 = netip.PrefixFrom(a, sub.Prefix.Bits()), gateway
		}
	}
	e.MAC = macOf(e.addresses()[0].Addr()).String()
	if m.child() {
		e.MAC = m.childMAC(e.addresses()[0].Addr())
	}
	if r.MAC != "" {
		mac, err := net.ParseMAC(r.MAC)
		if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return errdefs.InvalidArgument("MAC address %q is not one of a single Ethernet interface", r.MAC)
		}
		if m.Driver == DriverIPvlan {
			return errdefs.InvalidArgument("MAC address %s: an ipvlan network's containers have their parent's", r.MAC)
		}
		e.MAC = mac.String()
	}
	for _, a := range r.LinkLocal {
		if !a.IsLinkLocalUnicast() {
			return errdefs.InvalidArgument("address %s is not link-local: use one of 169.254.0.0/16 or fe80::/64", a)
		}
	}
	return nil
}

// take gives out an address of the network's i-th subnet.
func (m *member) take(i int, r Request, undo *cleanup.Stack) (netip.Addr, error) {
	sub := m.subnets[i]
	a := r.IPv4
	if m.Subnets[i].Prefix.Addr().Is6() {
		a = r.IPv6
	}
	var err error
	if a.IsValid() {
		err = sub.Take(a)
	} else {
		a, err = sub.Next()
	}
	if err == nil {
		undo.Add(func(context.Context) error { sub.Free(a); return nil })
	}
	return a, err
}

// free gives an address back.
func (m *member) free(a netip.Addr) {
	for i, sub := range m.Subnets {
		if sub.Prefix.Contains(a) {
			m.subnets[i].Free(a)
		}
	}
}

// wanted is a port that is to be published on addresses of the host, under the same number on each.
type wanted struct {
	Port
	on []netip.Addr
}

// checkPorts validates the wanted ports and fills in protocol and addresses. On an internal network nothing is
// published, and those of macvlan and ipvlan are not the host's.
func checkPorts(n Network, c Config, r Request) ([]wanted, error) {
	if n.Internal || n.child() {
		return nil, nil
	}
	all := make([]wanted, 0, len(r.Ports))
	for _, p := range r.Ports {
		switch p.Proto = strings.ToLower(p.Proto); p.Proto {
		case "":
			p.Proto = "tcp"
		case "tcp", "udp":
		default:
			return nil, errdefs.NotImplemented("port %d/%s: only tcp and udp can be published", p.ContainerPort, p.Proto)
		}
		if p.ContainerPort == 0 {
			return nil, errdefs.InvalidArgument("container port 0 cannot be published: give one between 1 and 65535")
		}
		if p.HostPortEnd != 0 && p.HostPortEnd < p.HostPort {
			return nil, errdefs.InvalidArgument("host port range %d-%d ends before it begins", p.HostPort, p.HostPortEnd)
		}
		w := wanted{Port: p}
		if p.HostIP.IsValid() && n.subnet(p.HostIP.Unmap().Is6()) == nil {
			return nil, errdefs.InvalidArgument("port %d/%s: cannot be published on %s: network %s has no addresses of that family (network create --ipv6)",
				p.ContainerPort, p.Proto, p.HostIP, n.Name)
		}
		for _, a := range hostAddresses(n, c, p.HostIP) {
			if r.Publish.has(a) {
				w.on = append(w.on, a)
			}
		}
		if len(w.on) > 0 {
			all = append(all, w)
		}
	}
	return all, nil
}

// hostAddresses are those that a port is published on: the given one, else the network's or the daemon's default, else every
// address of each of the network's families.
func hostAddresses(n Network, c Config, given netip.Addr) []netip.Addr {
	if given.IsValid() {
		return []netip.Addr{given.Unmap()}
	}
	first := n.HostIP
	if !first.IsValid() || first.IsUnspecified() {
		first = c.HostIP
	}
	var all []netip.Addr
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		switch {
		case n.subnet(a.Is6()) == nil:
		case first == netip.IPv4Unspecified(): // the default of both: every address
			all = append(all, a)
		case first.Is6() == a.Is6():
			all = append(all, first)
		}
	}
	return all
}

// holdPorts holds the host ports and returns what was granted. A routed family has none: the container's own are open.
func (s *Service) holdPorts(e Endpoint, n Network, ports []wanted) ([]Port, error) {
	var granted []Port
	for _, w := range ports {
		var bound []netip.Addr
		for _, a := range w.on {
			if n.mode(a) == ModeRouted {
				granted = append(granted, Port{Proto: w.Proto, ContainerPort: w.ContainerPort, HostIP: a})
			} else {
				bound = append(bound, a)
			}
		}
		if len(bound) == 0 {
			continue
		}
		number, err := s.ports.Hold(portmap.Owner{ID: e.ID, Name: e.label()},
			portmap.Port{Proto: w.Proto, Addrs: bound, First: w.HostPort, Last: w.HostPortEnd})
		if err != nil {
			return nil, err
		}
		for _, a := range bound {
			granted = append(granted, Port{Proto: w.Proto, ContainerPort: w.ContainerPort, HostIP: a, HostPort: number})
		}
	}
	return granted, nil
}

// endpointSysctls checks what is to be set of an endpoint's interface: net.FAMILY.conf.IFNAME.NAME=VALUE or with neigh, as
// Docker's com.docker.network.endpoint.sysctls. The docker command line makes the word small.
// The interface's name is filled in when it is there.
func endpointSysctls(all []string) ([]string, error) {
	for _, line := range all {
		key, value, ok := strings.Cut(line, "=")
		parts := strings.Split(key, ".")
		right := ok && value != "" && !strings.ContainsAny(value, "\x00\n") && len(parts) == 5 && parts[0] == "net" &&
			(parts[1] == "ipv4" || parts[1] == "ipv6" || parts[1] == "mpls") && (parts[2] == "conf" || parts[2] == "neigh") &&
			strings.EqualFold(parts[3], "IFNAME") && parts[4] != "" && strings.Trim(parts[4], "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
		if !right {
			return nil, errdefs.InvalidArgument("endpoint sysctl %q: must be net.ipv4.conf.IFNAME.name=value, with conf or neigh and the word IFNAME for the interface", line)
		}
	}
	return all, nil
}
