package network

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/network/bridge"
	"github.com/conex-containers/conex/network/firewall"
	"github.com/conex-containers/conex/network/ipam"
)

// CreateNetwork makes a network and returns it with ID, Bridge and Subnets filled in where they were empty: the
// record to keep. ErrAlreadyExists: the name or id is taken; ErrConflict: the subnet or the bridge name is;
// ErrResourceExhausted: no pool has a free subnet.
func (s *Service) CreateNetwork(ctx context.Context, n Network) (_ Network, err error) {
	s.creating.Lock()
	defer s.creating.Unlock()
	if n.ID == "" {
		n.ID = string(ids.New())
	}
	if n, err = s.define(n); err != nil {
		return Network{}, err
	}
	m, err := newMember(n)
	if err != nil {
		return Network{}, err
	}
	// In the list first: whoever heals the firewall meanwhile must know it.
	s.mu.Lock()
	s.networks[n.ID] = m
	s.mu.Unlock()
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	undo.Add(func(context.Context) error { s.forget(n.ID); return nil })
	if n.Driver == DriverBridge {
		if err := s.raise(m, &undo); err != nil {
			return Network{}, err
		}
	}
	undo.Release()
	s.log.InfoContext(ctx, "network created", "network", n.Name, "op", "create", "bridge", n.Bridge)
	return n, nil
}

// define checks a new network and fills in what it leaves open.
func (s *Service) define(n Network) (Network, error) {
	if err := ids.CheckName("network name", n.Name); err != nil {
		return n, err
	}
	if _, err := ids.Parse(n.ID); err != nil {
		return n, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.networks {
		if have.ID == n.ID || have.Name == n.Name {
			return n, errdefs.AlreadyExists("network with name %s already exists (%s)", have.Name, have.ID)
		}
	}
	switch n.Driver {
	case DriverHost, DriverNone:
		return n, nil
	case "null": // what Docker calls it
		n.Driver = DriverNone
		return n, nil
	case "":
		n.Driver = DriverBridge
	case DriverBridge:
	default:
		return n, errdefs.InvalidArgument("network %s: driver %q is not known: use bridge", n.Name, n.Driver)
	}
	if n.EnableIPv6 {
		return n, errdefs.NotImplemented("network %s: IPv6 networks are not supported: create it without --ipv6", n.Name)
	}
	if !n.EnableIPv4 {
		return n, errdefs.InvalidArgument("network %s: IPv4 is switched off and nothing is on: a network needs addresses", n.Name)
	}
	if n.Bridge == "" {
		n.Bridge = s.config.bridgeName(n.ID)
	}
	if err := checkLinkName(n.Bridge); err != nil {
		return n, err
	}
	if n.MTU < 0 || n.MTU != 0 && n.MTU < 68 || n.MTU > 65535 {
		return n, errdefs.InvalidArgument("network %s: MTU %d is not between 68 and 65535", n.Name, n.MTU)
	}
	if n.HostIP.IsValid() && !n.HostIP.Is4() {
		return n, errdefs.NotImplemented("network %s: publishing on %s: only IPv4 is supported", n.Name, n.HostIP)
	}
	for _, have := range s.networks {
		if have.Bridge == n.Bridge {
			return n, errdefs.Conflict("network %s: bridge %s belongs to network %s", n.Name, n.Bridge, have.Name)
		}
	}
	return s.address(n)
}

// address chooses the network's subnet and gateway, or checks the given ones. Called with s.mu held.
func (s *Service) address(n Network) (Network, error) {
	n.Subnets = slices.Clone(n.Subnets)
	if len(n.Subnets) > 1 {
		return n, errdefs.InvalidArgument("network %s: %d subnets given: a bridge network has one IPv4 subnet", n.Name, len(n.Subnets))
	}
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
	if len(n.Subnets) == 0 || !n.Subnets[0].Prefix.IsValid() {
		prefix, err := ipam.NextSubnet(s.config.Pools, slices.Concat(slices.Collect(maps.Keys(owners)), slices.Collect(maps.Keys(taken))))
		if err != nil {
			return n, err
		}
		sub := Subnet{}
		if len(n.Subnets) == 1 {
			sub = n.Subnets[0]
		}
		sub.Prefix = prefix
		n.Subnets = []Subnet{sub}
	} else if err := checkSubnet(n, owners, taken); err != nil {
		return n, err
	}
	sub := &n.Subnets[0]
	if !sub.Gateway.IsValid() {
		sub.Gateway = sub.Prefix.Addr().Next()
	}
	if !sub.Prefix.Contains(sub.Gateway) {
		return n, errdefs.InvalidArgument("network %s: gateway %s is not inside the subnet %s", n.Name, sub.Gateway, sub.Prefix)
	}
	return n, nil
}

// checkSubnet refuses a subnet given by the user that is none, or that something else has.
func checkSubnet(n Network, owners, taken map[netip.Prefix]string) error {
	p := n.Subnets[0].Prefix
	switch {
	case !p.Addr().Is4():
		return errdefs.NotImplemented("network %s: subnet %s: only IPv4 is supported", n.Name, p)
	case p != p.Masked():
		return errdefs.InvalidArgument("network %s: %s is not a network address: did you mean %s?", n.Name, p, p.Masked())
	case p.Bits() > 30 || p.Bits() == 0:
		return errdefs.InvalidArgument("network %s: subnet %s must be between /1 and /30", n.Name, p)
	}
	for other, name := range owners {
		if p.Overlaps(other) {
			return errdefs.Conflict("network %s: Pool overlaps with other one on this address space: %s overlaps with %s of network %s; choose another --subnet", n.Name, p, other, name)
		}
	}
	if n.External {
		return nil
	}
	for other, link := range taken {
		if p.Overlaps(other) {
			return errdefs.Conflict("network %s: subnet %s overlaps with the host's own route %s (%s); choose another --subnet", n.Name, p, other, link)
		}
	}
	return nil
}

// newMember builds the working form of a checked network.
func newMember(n Network) (*member, error) {
	m := &member{Network: n, retired: map[netip.Addr]bool{}}
	if n.Driver != DriverBridge {
		return m, nil
	}
	if len(n.Subnets) == 0 {
		return nil, errdefs.InvalidArgument("network %s has no subnet", n.Name)
	}
	sub := n.Subnets[0]
	reserved := append([]netip.Addr{sub.Gateway}, slices.Collect(maps.Values(sub.Aux))...)
	subnet, err := ipam.NewSubnet(sub.Prefix, sub.Range, reserved...)
	if err != nil {
		return nil, err
	}
	m.subnet = subnet
	return m, nil
}

func (s *Service) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.networks, id)
}

// raise makes the network's kernel objects.
func (s *Service) raise(m *member, undo *cleanup.Stack) error {
	s.mu.Lock()
	made, err := s.ensureBridge(m)
	s.mu.Unlock()
	if made {
		undo.Add(func(context.Context) error { return s.links.Remove(m.Bridge) })
	}
	if err != nil {
		return err
	}
	return s.firewalled(func(t *firewall.Table) error { return t.AddNetwork(m.wall()) })
}

// ensureBridge makes the network's bridge or repairs it, and forwarding with it. It tells whether there now is a
// bridge of ours, which an undo removes. Called with s.mu held.
func (s *Service) ensureBridge(m *member) (made bool, err error) {
	if !s.config.ForwardOff && !m.Internal {
		if err := bridge.EnableForwarding(); err != nil {
			return false, err
		}
	}
	sub := m.Subnets[0]
	m.index, err = s.links.Ensure(bridge.Bridge{
		Name: m.Bridge, Alias: s.config.bridgeAlias(m.ID), MAC: s.config.bridgeMAC(m.ID), MTU: m.MTU,
		Address: netip.PrefixFrom(sub.hostAddress(), sub.Prefix.Bits()), Loopback: s.wall != nil && !m.Internal, External: m.External,
	})
	return !m.External && !errdefs.IsConflict(err), err
}

// hostAddress is the bridge's own address: the gateway, unless --default-gateway says that another machine is it.
func (sub Subnet) hostAddress() netip.Addr {
	if a, ok := sub.Aux[auxBridge]; ok {
		return a
	}
	return sub.Gateway
}

// auxBridge is the name of the auxiliary address that a bridge has when it is not the gateway itself.
const auxBridge = "DefaultGatewayIPv4"

// RemoveNetwork removes a network and its kernel objects. ErrFailedPrecondition while it has endpoints.
func (s *Service) RemoveNetwork(ctx context.Context, id string) error {
	s.creating.Lock()
	defer s.creating.Unlock()
	s.mu.Lock()
	m, err := s.find(id)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	for _, c := range s.endpoints {
		if c.Network == m.ID {
			s.mu.Unlock()
			return errdefs.FailedPrecondition("network %s has active endpoints (container %s): disconnect or remove them first", m.Name, c.label())
		}
	}
	delete(s.networks, m.ID) // no Reserve from here on
	s.mu.Unlock()
	if m.Driver != DriverBridge {
		return nil
	}
	if err := s.firewalled(func(t *firewall.Table) error { return t.RemoveNetwork(m.wall()) }); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "network removed", "network", m.Name, "op", "remove", "bridge", m.Bridge)
	if m.External {
		return nil
	}
	return s.links.Remove(m.Bridge)
}

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

// defaultNetwork is the network "bridge" as configured; its subnet may be left open.
func (s *Service) defaultNetwork() (Network, error) {
	b := s.config.DefaultBridge
	n := Network{Name: defaultName, Driver: DriverBridge, Bridge: s.config.defaultBridge(), EnableIPv4: true, MTU: b.MTU,
		ICC: !b.ICCOff, Masquerade: !b.MasqueradeOff, HostIP: s.config.HostIP, External: b.Name != ""}
	address := b.Address
	if n.External {
		var err error
		if address, err = s.links.Address(b.Name); err != nil {
			return n, err
		}
		if !address.IsValid() {
			return n, errdefs.InvalidArgument("bridge %s has no IPv4 address: give it one (ip addr add ADDRESS/BITS dev %s) or choose another --bridge", b.Name, b.Name)
		}
	}
	sub := Subnet{Range: b.Range}
	if address.IsValid() {
		sub.Prefix, sub.Gateway = address.Masked(), address.Addr()
	} else if b.Range.IsValid() {
		return n, errdefs.InvalidArgument("--fixed-cidr %s needs --bip: the subnet that it is a part of", b.Range)
	}
	if b.Gateway.IsValid() && b.Gateway != sub.Gateway {
		if sub.Gateway.IsValid() {
			sub.Aux = map[string]netip.Addr{auxBridge: sub.Gateway}
		}
		sub.Gateway = b.Gateway
	}
	n.Subnets = []Subnet{sub}
	return n, nil
}

// sameDefault tells whether an existing default network still is what the configuration asks for.
func sameDefault(want, have Network) bool {
	if len(have.Subnets) != 1 {
		return false
	}
	w, h := want.Subnets[0], have.Subnets[0]
	subnet := !w.Prefix.IsValid() || w.Prefix == h.Prefix && w.Gateway == h.Gateway
	return subnet && w.Range == h.Range && want.Bridge == have.Bridge && want.External == have.External &&
		want.MTU == have.MTU && want.ICC == have.ICC && want.Masquerade == have.Masquerade && want.HostIP == have.HostIP
}
