package network

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network/ipam"
)

// address chooses the network's subnets and gateways, or checks the given ones. Called with s.mu held.
func (s *Service) address(n Network) (Network, error) {
	owners := map[netip.Prefix]string{} // of other networks' subnets
	ours := map[string]bool{n.Bridge: true}
	for _, m := range s.networks {
		ours[m.Bridge] = true
		for _, sub := range m.Subnets {
			owners[sub.Prefix] = m.Name
		}
	}
	taken, err := s.links.Taken(ours)
	if err != nil {
		return n, err
	}
	given := n.Subnets
	n.Subnets = nil
	for _, six := range []bool{false, true} {
		if six && !n.EnableIPv6 || !six && !n.EnableIPv4 {
			continue
		}
		sub, err := s.subnet(n, given, six, owners, taken)
		if err != nil {
			return n, err
		}
		n.Subnets = append(n.Subnets, sub)
	}
	return n, nil
}

// subnet chooses the network's subnet of one family and its gateway, or checks the given one.
func (s *Service) subnet(n Network, given []Subnet, six bool, owners, taken map[netip.Prefix]string) (Subnet, error) {
	var sub Subnet
	found := 0
	for _, g := range given {
		of := g.Prefix.Addr().Is6()
		if !g.Prefix.IsValid() { // chosen here, with what else is said of it
			of = g.Range.Addr().Is6() || g.Gateway.Is6()
		}
		if of == six {
			sub = g
			found++
		}
	}
	if found > 1 {
		return sub, errdefs.InvalidArgument("network %s: %d subnets of one family given: a network has one IPv4 and one IPv6 subnet", n.Name, found)
	}
	if !sub.Prefix.IsValid() {
		pools := ipam.Of(s.config.Pools, six)
		if six && len(pools) == 0 {
			pools = []ipam.Pool{ipam.UniqueLocal(s.config.machine())}
		}
		prefix, err := ipam.NextSubnet(pools, slices.Concat(slices.Collect(maps.Keys(owners)), slices.Collect(maps.Keys(taken))))
		if err != nil {
			return sub, err
		}
		sub.Prefix = prefix
	} else if err := checkSubnet(n, sub.Prefix, owners, taken); err != nil {
		return sub, err
	}
	if !sub.Gateway.IsValid() {
		sub.Gateway = sub.Prefix.Addr().Next()
	}
	if !sub.Prefix.Contains(sub.Gateway) {
		return sub, errdefs.InvalidArgument("network %s: gateway %s is not inside the subnet %s", n.Name, sub.Gateway, sub.Prefix)
	}
	return sub, nil
}

// checkSubnet refuses a subnet given by the user that is none, or that something else has.
func checkSubnet(n Network, p netip.Prefix, owners, taken map[netip.Prefix]string) error {
	longest := p.Addr().BitLen() - 2
	switch a := p.Addr(); {
	case p != p.Masked():
		return errdefs.InvalidArgument("network %s: %s is not a network address: did you mean %s?", n.Name, p, p.Masked())
	case p.Bits() > longest || p.Bits() == 0:
		return errdefs.InvalidArgument("network %s: subnet %s must be between /1 and /%d", n.Name, p, longest)
	case a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a.Is4In6():
		return errdefs.InvalidArgument("network %s: subnet %s cannot be a network's: loopback, link-local, multicast and IPv4-mapped addresses mean something else", n.Name, p)
	}
	for other, name := range owners {
		if p.Overlaps(other) {
			return errdefs.Conflict("network %s: Pool overlaps with other one on this address space: %s overlaps with %s of network %s; choose another --subnet", n.Name, p, other, name)
		}
	}
	if n.External || n.child() { // the host may have a route to its own network
		return nil
	}
	for other, link := range taken {
		if p.Overlaps(other) {
			return errdefs.Conflict("network %s: subnet %s overlaps with the host's own route %s (%s); choose another --subnet", n.Name, p, other, link)
		}
	}
	return nil
}
