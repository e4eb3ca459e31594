package network

import (
	"context"
	"net/netip"

	"github.com/conex-containers/conex/base/errdefs"
)

// Defaults makes sure that the networks every daemon has exist as it is configured, "bridge", "host" and "none",
// and returns them: the records to keep. It is called once, after Restore. A default bridge whose configuration
// has changed is made anew, and one that is not wanted any more goes, unless containers are still connected to it.
func (s *Service) Defaults(ctx context.Context) ([]Network, error) {
	wanted := []Network{{Name: "host", Driver: DriverHost, EnableIPv4: true}, {Name: "none", Driver: DriverNone, EnableIPv4: true}}
	if !s.config.DefaultBridge.Off {
		n, err := s.defaultNetwork()
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, n)
	} else if have, err := s.Network(defaultName); err == nil && have.Name == defaultName {
		if err := s.RemoveNetwork(ctx, have.ID); err != nil {
			s.log.WarnContext(ctx, "the default network stays for now: --bridge none asks for none", "network", have.Name, "err", err)
		}
	}
	var all []Network
	for _, n := range wanted {
		have, err := s.Network(n.Name)
		if err == nil && have.Name == n.Name && (n.Driver != DriverBridge || sameDefault(n, have)) {
			all = append(all, have)
			continue
		}
		if err == nil && have.Name == n.Name {
			if err := s.RemoveNetwork(ctx, have.ID); err != nil {
				s.log.WarnContext(ctx, "the default bridge keeps its old configuration", "network", n.Name, "err", err)
				all = append(all, have)
				continue
			}
			n.ID = have.ID
		}
		made, err := s.CreateNetwork(ctx, n)
		if err != nil {
			return nil, err
		}
		all = append(all, made)
	}
	return all, nil
}

// defaultName is the default network's.
const defaultName = "bridge"

// defaultNetwork is the network "bridge" as configured; its subnets may be left open.
func (s *Service) defaultNetwork() (Network, error) {
	b := s.config.DefaultBridge
	n := Network{Name: defaultName, Driver: DriverBridge, Bridge: s.config.defaultBridge(), EnableIPv4: true, EnableIPv6: b.IPv6, MTU: b.MTU,
		ICC: !b.ICCOff, Masquerade: !b.MasqueradeOff, HostIP: s.config.HostIP, External: b.Name != ""}
	address, address6 := b.Address, b.Address6
	if n.External {
		own, err := s.links.Addresses(b.Name)
		if err != nil {
			return n, err
		}
		address, address6 = first(own, false), first(own, true)
		if !address.IsValid() {
			return n, errdefs.InvalidArgument("bridge %s has no IPv4 address: give it one (ip addr add ADDRESS/BITS dev %s) or choose another --bridge", b.Name, b.Name)
		}
		if b.IPv6 && !address6.IsValid() {
			return n, errdefs.InvalidArgument("bridge %s has no IPv6 address: give it one (ip addr add ADDRESS/BITS dev %s) or leave --ipv6 out", b.Name, b.Name)
		}
	}
	if b.Range.IsValid() && !address.IsValid() {
		return n, errdefs.InvalidArgument("--fixed-cidr %s needs --bip: the subnet that it is a part of", b.Range)
	}
	n.Subnets = []Subnet{defaultSubnet(address, b.Range, b.Gateway)}
	if b.IPv6 {
		within := b.Range6
		if !address6.IsValid() && within.IsValid() {
			address6, within = netip.PrefixFrom(within.Masked().Addr().Next(), within.Bits()), netip.Prefix{}
		}
		sub := defaultSubnet(address6, within, b.Gateway6)
		if sub.Prefix.IsValid() {
			n.Subnets = append(n.Subnets, sub)
		}
	}
	return n, nil
}

func first(all []netip.Prefix, six bool) netip.Prefix {
	for _, p := range all {
		if p.Addr().Is6() == six && !p.Addr().IsLinkLocalUnicast() {
			return p
		}
	}
	return netip.Prefix{}
}

// defaultSubnet is the default network's of one family: of the bridge's address, where addresses come from, and the gateway
// that is another machine.
func defaultSubnet(address, within netip.Prefix, gateway netip.Addr) Subnet {
	sub := Subnet{Range: within}
	if address.IsValid() {
		sub.Prefix, sub.Gateway = address.Masked(), address.Addr()
	}
	if gateway.IsValid() && gateway != sub.Gateway {
		if sub.Gateway.IsValid() {
			sub.Aux = map[string]netip.Addr{auxBridge: sub.Gateway}
		}
		sub.Gateway = gateway
	}
	return sub
}

// sameDefault tells whether an existing default network still is what the configuration asks for.
func sameDefault(want, have Network) bool {
	for _, six := range []bool{false, true} {
		w, h := want.subnet(six), have.subnet(six)
		if w == nil {
			continue // left open: any is right
		}
		if h == nil || w.Range != h.Range || w.Prefix.IsValid() && (w.Prefix != h.Prefix || w.Gateway != h.Gateway) {
			return false
		}
	}
	return want.EnableIPv6 == have.EnableIPv6 && want.Bridge == have.Bridge && want.External == have.External &&
		want.MTU == have.MTU && want.ICC == have.ICC && want.Masquerade == have.Masquerade && want.HostIP == have.HostIP
}
