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
	switch {
	case n.Driver == DriverBridge:
		err = s.raise(m, &undo)
	case n.child():
		err = s.ensureParent(n)
	}
	if err != nil {
		return Network{}, err
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
	case DriverBridge, DriverMacvlan, DriverIPvlan:
	default:
		return n, errdefs.InvalidArgument("network %s: driver %q is not known: use bridge, macvlan or ipvlan", n.Name, n.Driver)
	}
	if !n.EnableIPv4 && !n.EnableIPv6 {
		return n, errdefs.InvalidArgument("network %s: IPv4 is switched off and nothing is on: a network needs addresses (--ipv6)", n.Name)
	}
	if n.child() {
		var err error
		if n, err = s.defineChild(n); err != nil {
			return n, err
		}
		return s.address(n)
	}
	if n.Bridge == "" {
		n.Bridge = s.config.bridgeName(n.ID)
	}
	if err := checkLinkName(n.Bridge); err != nil {
		return n, err
	}
	if err := n.check(); err != nil {
		return n, err
	}
	for _, have := range s.networks {
		if have.Bridge == n.Bridge {
			return n, errdefs.Conflict("network %s: bridge %s belongs to network %s", n.Name, n.Bridge, have.Name)
		}
	}
	return s.address(n)
}

// check tells what is wrong with the parts of a definition that depend on nothing else.
func (n Network) check() error {
	least := 68 // RFC 791
	if n.EnableIPv6 {
		least = 1280 // RFC 8200 section 5
	}
	if n.MTU < 0 || n.MTU != 0 && n.MTU < least || n.MTU > 65535 {
		return errdefs.InvalidArgument("network %s: MTU %d is not between %d and 65535", n.Name, n.MTU, least)
	}
	if n.HostIP.IsValid() && !n.HostIP.Is4() {
		return errdefs.InvalidArgument("network %s: host_binding_ipv4 %s is not an IPv4 address", n.Name, n.HostIP)
	}
	for _, mode := range []GatewayMode{n.Mode4, n.Mode6} {
		switch mode {
		case "", ModeNAT, ModeUnprotected, ModeRouted:
		case ModeIsolated:
			if !n.Internal {
				return errdefs.InvalidArgument("network %s: gateway mode isolated is for internal networks: create it with --internal", n.Name)
			}
		default:
			return errdefs.InvalidArgument("network %s: unknown gateway mode %q: use nat, nat-unprotected, routed or isolated", n.Name, mode)
		}
	}
	if n.Interfaces != "" {
		return checkLinkName(n.Interfaces + "0")
	}
	return nil
}

// newMember builds the working form of a checked network.
func newMember(n Network) (*member, error) {
	m := &member{Network: n, retired: map[netip.Addr]bool{}}
	if !n.Connects() {
		return m, nil
	}
	if len(n.Subnets) == 0 {
		return nil, errdefs.InvalidArgument("network %s has no subnet", n.Name)
	}
	for _, sub := range n.Subnets {
		reserved := append([]netip.Addr{sub.Gateway}, slices.Collect(maps.Values(sub.Aux))...)
		subnet, err := ipam.NewSubnet(sub.Prefix, sub.Range, reserved...)
		if err != nil {
			return nil, err
		}
		m.subnets = append(m.subnets, subnet)
	}
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
	return s.firewalled(func(t *firewall.Table) error { return t.AddNetwork(m.Wall(s.config.HostPolicy)) })
}

// ensureBridge makes the network's bridge or repairs it, and forwarding with it. It tells whether there now is a
// bridge of ours, which an undo removes. Called with s.mu held.
func (s *Service) ensureBridge(m *member) (made bool, err error) {
	if !s.config.ForwardOff && !m.Internal {
		if err := s.enableForwarding(m); err != nil {
			return false, err
		}
	}
	b := bridge.Bridge{
		Name: m.Bridge, Alias: s.config.bridgeAlias(m.ID), MAC: s.config.bridgeMAC(m.ID), MTU: m.MTU,
		IPv6: m.EnableIPv6, Loopback: s.wall != nil && !m.Internal, External: m.External,
	}
	for _, sub := range m.Subnets {
		if m.mode(sub.Prefix.Addr()) != ModeIsolated {
			b.Addresses = append(b.Addresses, netip.PrefixFrom(sub.hostAddress(), sub.Prefix.Bits()))
		}
	}
	m.index, err = s.links.Ensure(b)
	return !m.External && !errdefs.IsConflict(err), err
}

func (s *Service) enableForwarding(m *member) error {
	if m.EnableIPv4 {
		if err := bridge.EnableForwarding(); err != nil {
			return err
		}
	}
	if m.EnableIPv6 {
		return bridge.EnableForwarding6()
	}
	return nil
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
	if m.child() {
		return s.links.RemoveParent(m.Parent, s.config.bridgeAlias(m.ID))
	}
	if m.Driver != DriverBridge {
		return nil
	}
	if err := s.firewalled(func(t *firewall.Table) error { return t.RemoveNetwork(m.Wall(s.config.HostPolicy)) }); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "network removed", "network", m.Name, "op", "remove", "bridge", m.Bridge)
	if m.External {
		return nil
	}
	return s.links.Remove(m.Bridge)
}
