package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network/bridge"
	"github.com/conex-containers/conex/network/firewall"
)

// Reserve gives the container an address and its host ports, and returns the endpoint: the record to keep. The
// ports are bound, nothing else in the kernel changes.
func (s *Service) Reserve(ctx context.Context, r Request) (_ Endpoint, err error) {
	if err := ctx.Err(); err != nil {
		return Endpoint{}, err
	}
	e, m, err := s.newEndpoint(r)
	if err != nil {
		return Endpoint{}, err
	}
	ports, err := checkPorts(m.Network, s.config, r)
	if err != nil {
		return Endpoint{}, err
	}
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	if err := s.giveAddresses(&e, m, r, &undo); err != nil {
		return Endpoint{}, fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	undo.Add(func(context.Context) error { s.ports.Release(e.ID); return nil })
	if e.Ports, err = s.holdPorts(e, m.Network, ports); err != nil {
		return Endpoint{}, fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", e.label(), e.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.networks[m.ID] != m {
		return Endpoint{}, errdefs.NotFound("network %s not found: it was just removed", m.Name)
	}
	s.endpoints[e.ID] = &connection{Endpoint: e}
	undo.Release()
	return e, nil
}

// newEndpoint checks a request and finds its network.
func (s *Service) newEndpoint(r Request) (Endpoint, *member, error) {
	if _, err := ids.Parse(r.Container); err != nil {
		return Endpoint{}, nil, fmt.Errorf("container: %w", err)
	}
	e := Endpoint{ID: string(ids.New()), Container: r.Container, Name: r.Name, Names: r.Names, Links: r.Links, Interface: r.Interface, First: r.First, LinkLocal: r.LinkLocal}
	if e.Interface == "" {
		e.Interface = "eth0"
	}
	if err := checkLinkName(e.Interface); err != nil {
		return Endpoint{}, nil, err
	}
	var err error
	if e.Sysctls, err = endpointSysctls(r.Sysctls); err != nil {
		return Endpoint{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.find(r.Network)
	if err != nil {
		return Endpoint{}, nil, err
	}
	if !m.Connects() {
		return Endpoint{}, nil, errdefs.InvalidArgument("network %s: driver %s has no endpoints", m.Name, m.Driver)
	}
	e.Network = m.ID
	if m.Driver == DriverBridge {
		e.HostLink = fill(s.config.linkPrefix(), e.ID)
	}
	return e, m, nil
}

// Attach connects the container's namespace and then publishes its ports: a client that polls a published port
// never meets a container whose interface is still down (which would cost it a second of address resolution).
// The endpoint must be reserved. After an error nothing is left in the kernel and the endpoint stays reserved.
func (s *Service) Attach(ctx context.Context, e Endpoint, netns *os.File) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	c, m, index := s.endpoints[e.ID], s.networks[e.Network], 0
	if m != nil {
		index = m.index
	}
	s.mu.Unlock()
	if c == nil || m == nil {
		return errdefs.NotFound("endpoint %s of container %s is not reserved", e.ID, e.label())
	}
	e = c.Endpoint
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	if m.Driver == DriverBridge {
		undo.Add(func(context.Context) error { return s.links.Delete(e.HostLink) })
	}
	if err := s.connect(e, m, index, netns); err != nil {
		return fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	if m.child() { // before, the name inside could have been another's
		undo.Add(func(context.Context) error { return s.unplug(e, netns) })
	}
	if err := s.forgetOldFlows(e, m); err != nil {
		return fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	s.mark(c, true)
	undo.Add(func(context.Context) error { s.mark(c, false); return nil })
	if len(e.Ports) > 0 && s.wall == nil {
		s.log.WarnContext(ctx, "ports are not published: the firewall is off", "container", e.Container, "network", m.Name)
	}
	if err := s.firewalled(func(t *firewall.Table) error { return t.Connect(e.WallPorts(), e.Bindings(m.Network)) }); err != nil {
		return fmt.Errorf("container %s: publish ports: %w", e.label(), err)
	}
	undo.Release()
	return nil
}

func (s *Service) mark(c *connection, published bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.published = published
	s.directory = nil
}

// connect makes the endpoint's link. Two faults of the machine are healed once: a leftover link of that name and a
// bridge that somebody has deleted.
func (s *Service) connect(e Endpoint, m *member, index int, netns *os.File) error {
	if m.child() {
		return s.connectChild(e, m.Network, netns)
	}
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		return errdefs.InvalidArgument("endpoint %s: %w", e.ID, err)
	}
	port := bridge.Port{HostLink: e.HostLink, Alias: s.config.linkAlias(e.Container), Master: index, MTU: m.MTU,
		Inside: e.inside(mac), Isolated: !m.ICC, Hairpin: len(e.Ports) > 0 && bridge.FiltersBridged()}
	if err := s.createLink(port, m, netns); err != nil {
		return err
	}
	return s.links.Configure(port, netns)
}

// inside is what the container sees of its link.
func (e *Endpoint) inside(mac net.HardwareAddr) bridge.Inside {
	i := bridge.Inside{Interface: e.Interface, MAC: mac, Sysctls: e.Sysctls, IPv6: e.Address6.IsValid()}
	i.Addresses = e.addresses()
	for _, a := range e.LinkLocal {
		bits := 16
		if a.Is6() {
			bits, i.IPv6 = 64, true
		}
		i.Addresses = append(i.Addresses, netip.PrefixFrom(a, bits))
	}
	for _, g := range []netip.Addr{e.Gateway, e.Gateway6} {
		if g.IsValid() {
			i.Gateways = append(i.Gateways, netlink.Gateway{Addr: g, First: e.First})
		}
	}
	return i
}

func (s *Service) createLink(port bridge.Port, m *member, netns *os.File) error {
	err := s.links.Create(port, netns)
	switch {
	case errors.Is(err, unix.EEXIST):
		if gone := s.links.Delete(port.HostLink); gone != nil {
			return errors.Join(err, gone)
		}
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL):
		s.mu.Lock()
		_, broken := s.ensureBridge(m)
		port.Master = m.index
		s.mu.Unlock()
		if broken != nil {
			return errors.Join(err, broken)
		}
	default:
		return err
	}
	return s.links.Create(port, netns)
}

// forgetOldFlows makes sure that no packet is judged by what was true of the address or the port before: UDP knows
// no connection, so an entry of connection tracking lives on as long as a client keeps sending.
func (s *Service) forgetOldFlows(e Endpoint, m *member) error {
	var flows []netlink.Flows
	s.mu.Lock()
	for _, p := range [...]netip.Prefix{e.Address, e.Address6} {
		if a := p.Addr(); a.IsValid() && m.retired[a] {
			delete(m.retired, a)
			flows = append(flows, netlink.Flows{Proto: unix.IPPROTO_UDP, From: a}, netlink.Flows{Proto: unix.IPPROTO_UDP, Reply: a})
		}
	}
	s.mu.Unlock()
	for _, p := range e.Ports {
		if p.Proto == "udp" && p.HostPort != 0 {
			flows = append(flows, netlink.Flows{Proto: unix.IPPROTO_UDP, To: netip.AddrPortFrom(p.HostIP, p.HostPort), Unmasked: true})
		}
	}
	for _, f := range flows {
		if err := s.flows.DeleteFlows(f); err != nil {
			return fmt.Errorf("delete old UDP flows: %w", err)
		}
	}
	return nil
}

// Detach withdraws the endpoint's ports, releases its link and gives address and ports back. It waits for nothing:
// the link itself disappears when the container's namespace dies. Detaching again is no error.
func (s *Service) Detach(ctx context.Context, e Endpoint) error {
	return s.detach(ctx, e, func(e Endpoint) error {
		if e.HostLink == "" {
			return nil // it is inside and dies there
		}
		return s.links.Release(e.HostLink)
	})
}

// Disconnect is Detach for a container that goes on running: its interface is removed now (15 ms).
func (s *Service) Disconnect(ctx context.Context, e Endpoint, netns *os.File) error {
	return s.detach(ctx, e, func(e Endpoint) error { return s.unplug(e, netns) })
}

// unplug removes an endpoint's link.
func (s *Service) unplug(e Endpoint, netns *os.File) error {
	if e.HostLink == "" {
		return s.links.DeleteInside(e.Interface, netns)
	}
	return s.links.Delete(e.HostLink)
}

func (s *Service) detach(ctx context.Context, e Endpoint, drop func(Endpoint) error) error {
	s.mu.Lock()
	c, m := s.endpoints[e.ID], s.networks[e.Network]
	published := false
	if c != nil {
		e, published, c.published = c.Endpoint, c.published, false
	}
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	s.silence(e)
	var failed error
	if published {
		failed = s.firewalled(func(t *firewall.Table) error { return t.Withdraw(e.WallPorts()) })
		if m != nil {
			s.unbindLater(e.Bindings(m.Network))
		}
	}
	failed = errors.Join(failed, drop(e))
	for _, a := range e.udpTargets() {
		failed = errors.Join(failed, s.flows.DeleteFlows(netlink.Flows{Proto: unix.IPPROTO_UDP, Reply: a}))
	}
	s.ports.Release(e.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.endpoints, e.ID)
	s.directory = nil
	if m != nil {
		for _, p := range e.addresses() {
			m.retired[p.Addr()] = true
			m.free(p.Addr())
		}
	}
	if failed != nil {
		s.log.WarnContext(ctx, "endpoint detached with errors", "container", e.Container, "network", e.Network, "op", "detach", "err", failed)
		return fmt.Errorf("container %s: detach: %w", e.label(), failed)
	}
	return nil
}

// unbinding is how long what a link that is gone was allowed to send waits for company: its name never comes again.
const unbinding = time.Second

func (s *Service) unbindLater(bindings []firewall.Binding) {
	if s.wall == nil || len(bindings) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unbound = append(s.unbound, bindings)
	if s.unbinder == nil {
		s.unbinder = time.AfterFunc(unbinding, s.unbind)
	}
}

// unbind takes what endpoints that are gone were allowed to send out of the firewall.
func (s *Service) unbind() {
	s.mu.Lock()
	all := slices.Concat(s.unbound...)
	s.unbound = nil
	if s.unbinder != nil {
		s.unbinder.Stop()
		s.unbinder = nil
	}
	s.mu.Unlock()
	if err := s.firewalled(func(t *firewall.Table) error { return t.Unbind(all) }); err != nil {
		s.log.Warn("the firewall keeps addresses of links that are gone", "op", "unbind", "err", err)
	}
}

// udpTargets are the endpoint's addresses that UDP ports lead to.
func (e *Endpoint) udpTargets() []netip.Addr {
	var all []netip.Addr
	for _, p := range e.Ports {
		if a := e.target(p.HostIP); p.Proto == "udp" && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// label is what a message calls the endpoint's container.
func (e Endpoint) label() string {
	if e.Name != "" {
		return strings.TrimPrefix(e.Name, "/")
	}
	return ids.ID(e.Container).Short()
}
