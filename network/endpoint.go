package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network/bridge"
	"github.com/conex-containers/conex/network/firewall"
	"github.com/conex-containers/conex/network/portmap"
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
	ports, err := checkPorts(m.Network, s.config, r.Ports)
	if err != nil {
		return Endpoint{}, err
	}
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	if err := s.giveAddress(&e, m, r, &undo); err != nil {
		return Endpoint{}, fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	undo.Add(func(context.Context) error { s.ports.Release(e.ID); return nil })
	for _, p := range ports {
		p.HostPort, err = s.ports.Hold(portmap.Owner{ID: e.ID, Name: e.label()},
			portmap.Port{Proto: p.Proto, Addr: p.HostIP, First: p.HostPort, Last: p.HostPortEnd})
		if err != nil {
			return Endpoint{}, fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", e.label(), e.ID, err)
		}
		p.HostPortEnd = 0
		e.Ports = append(e.Ports, p)
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
	e := Endpoint{ID: string(ids.New()), Container: r.Container, Name: r.Name, Names: r.Names, Links: r.Links, Interface: r.Interface}
	if e.Interface == "" {
		e.Interface = "eth0"
	}
	if err := checkLinkName(e.Interface); err != nil {
		return Endpoint{}, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.find(r.Network)
	if err != nil {
		return Endpoint{}, nil, err
	}
	if m.Driver != DriverBridge {
		return Endpoint{}, nil, errdefs.InvalidArgument("network %s: driver %s has no endpoints", m.Name, m.Driver)
	}
	e.Network = m.ID
	e.HostLink = fill(s.config.linkPrefix(), e.ID)
	return e, m, nil
}

// giveAddress takes the wanted or the next free address, and derives the hardware address.
func (s *Service) giveAddress(e *Endpoint, m *member, r Request, undo *cleanup.Stack) error {
	a, sub := r.IPv4, m.Subnets[0]
	var err error
	if a.IsValid() {
		err = m.subnet.Take(a)
	} else {
		a, err = m.subnet.Next()
	}
	if err != nil {
		return err
	}
	undo.Add(func(context.Context) error { m.subnet.Free(a); return nil })
	e.Address = netip.PrefixFrom(a, sub.Prefix.Bits())
	if !m.Internal {
		e.Gateway = sub.Gateway
	}
	mac := macOf(a)
	if r.MAC != "" {
		if mac, err = net.ParseMAC(r.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			return errdefs.InvalidArgument("MAC address %q is not one of a single Ethernet interface", r.MAC)
		}
	}
	e.MAC = mac.String()
	return nil
}

// checkPorts validates the wanted ports and fills in protocol and address. On an internal network nothing is
// published.
func checkPorts(n Network, c Config, ports []Port) ([]Port, error) {
	if n.Internal {
		return nil, nil
	}
	var all []Port
	for _, p := range ports {
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
		if !p.HostIP.IsValid() {
			p.HostIP = n.HostIP
		}
		if !p.HostIP.IsValid() {
			p.HostIP = c.HostIP
		}
		if p.HostIP = p.HostIP.Unmap(); !p.HostIP.Is4() {
			return nil, errdefs.NotImplemented("port %d/%s: publishing on the IPv6 address %s is not supported", p.ContainerPort, p.Proto, p.HostIP)
		}
		all = append(all, p)
	}
	return all, nil
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
	undo.Add(func(context.Context) error { return s.links.Delete(e.HostLink) })
	if err := s.connect(e, m, index, netns); err != nil {
		return fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	if err := s.forgetOldFlows(e, m); err != nil {
		return fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	s.mark(c, true)
	undo.Add(func(context.Context) error { s.mark(c, false); return nil })
	if len(e.Ports) > 0 {
		if s.wall == nil {
			s.log.WarnContext(ctx, "ports are not published: the firewall is off", "container", e.Container, "network", m.Name)
		}
		if err := s.firewalled(func(t *firewall.Table) error { return t.Publish(e.wallPorts()) }); err != nil {
			return fmt.Errorf("container %s: publish ports: %w", e.label(), err)
		}
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
	mac, err := net.ParseMAC(e.MAC)
	if err != nil {
		return errdefs.InvalidArgument("endpoint %s: %w", e.ID, err)
	}
	port := bridge.Port{HostLink: e.HostLink, Alias: s.config.linkAlias(e.Container), Master: index, MTU: m.MTU,
		Interface: e.Interface, MAC: mac, Address: e.Address, Gateway: e.Gateway,
		Isolated: !m.ICC, Hairpin: len(e.Ports) > 0 && bridge.FiltersBridged()}
	if err := s.createLink(port, m, netns); err != nil {
		return err
	}
	return s.links.Configure(port, netns)
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
	s.mu.Lock()
	reused := m.retired[e.Address.Addr()]
	delete(m.retired, e.Address.Addr())
	s.mu.Unlock()
	var flows []netlink.Flows
	if reused {
		flows = append(flows,
			netlink.Flows{Proto: unix.IPPROTO_UDP, From: e.Address.Addr()},
			netlink.Flows{Proto: unix.IPPROTO_UDP, Reply: e.Address.Addr()})
	}
	for _, p := range e.Ports {
		if p.Proto == "udp" {
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
	return s.detach(ctx, e, s.links.Release)
}

// Disconnect is Detach for a container that goes on running: its interface is removed now (15 ms).
func (s *Service) Disconnect(ctx context.Context, e Endpoint) error {
	return s.detach(ctx, e, s.links.Delete)
}

func (s *Service) detach(ctx context.Context, e Endpoint, drop func(string) error) error {
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
		failed = s.firewalled(func(t *firewall.Table) error { return t.Withdraw(e.wallPorts()) })
	}
	failed = errors.Join(failed, drop(e.HostLink))
	for _, p := range e.Ports {
		if p.Proto == "udp" {
			failed = errors.Join(failed, s.flows.DeleteFlows(netlink.Flows{Proto: unix.IPPROTO_UDP, Reply: e.Address.Addr()}))
			break
		}
	}
	s.ports.Release(e.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.endpoints, e.ID)
	s.directory = nil
	if m != nil {
		m.retired[e.Address.Addr()] = true
		m.subnet.Free(e.Address.Addr())
	}
	if failed != nil {
		s.log.WarnContext(ctx, "endpoint detached with errors", "container", e.Container, "network", e.Network, "op", "detach", "err", failed)
		return fmt.Errorf("container %s: detach: %w", e.label(), failed)
	}
	return nil
}

// label is what a message calls the endpoint's container.
func (e Endpoint) label() string {
	if e.Name != "" {
		return strings.TrimPrefix(e.Name, "/")
	}
	return ids.ID(e.Container).Short()
}
