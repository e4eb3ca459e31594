package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network/bridge"
	"github.com/conex-containers/conex/network/dns"
	"github.com/conex-containers/conex/network/firewall"
	"github.com/conex-containers/conex/network/ipam"
	"github.com/conex-containers/conex/network/portmap"
)

// Service connects containers to networks. It holds no state of its own on disk: its owner keeps the Network and
// Endpoint records and gives them back with Restore.
//
// The life of an endpoint:
//
//	Reserve   address and host ports are the container's; nothing in the kernel but bound sockets
//	Attach    veth born inside the namespace, address, route; then, and only then, the ports are published
//	Detach    ports withdrawn, link released, address and ports free; the kernel removes the link with the namespace
//
// All methods may be called concurrently.
type Service struct {
	config  Config
	log     *slog.Logger
	links   *bridge.Links
	ports   *portmap.Table
	flows   *netlink.Socket
	wall    *firewall.Table // nil with FirewallOff
	dns     *dns.Server
	guards  []*netlink.Events // of Guard
	closing context.Context   // ends with Close
	stop    context.CancelFunc

	creating sync.Mutex // one CreateNetwork or RemoveNetwork at a time: they choose subnets

	turn sync.RWMutex // held for writing by reconcile, for reading by single changes of the firewall, whose record goes before them

	mu        sync.Mutex // guards the maps and what they hold
	networks  map[string]*member
	endpoints map[string]*connection // by endpoint id
	directory directory              // the endpoints by name; nil after a change
	unbound   [][]firewall.Binding   // of endpoints that are gone: still in the firewall, until unbinder
	unbinder  *time.Timer            // nil when there are none
}

// member is one network at work.
type member struct {
	Network
	index   int            // the bridge's, in the kernel
	subnets []*ipam.Subnet // one for each of Network.Subnets; none for host and none
	retired map[netip.Addr]bool
}

// connection is one endpoint at work.
type connection struct {
	Endpoint
	published bool
}

// New connects to the kernel; nothing is changed there before Restore, Defaults or CreateNetwork. It must be called
// in the host's network namespace.
func New(config Config, log *slog.Logger) (*Service, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	s := &Service{config: config, log: log, ports: portmap.New(),
		networks: map[string]*member{}, endpoints: map[string]*connection{}}
	s.closing, s.stop = context.WithCancel(context.Background())
	s.dns = dns.New(answers{s}, log)
	var err error
	if s.links, err = bridge.Open(log); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	if name := config.DefaultBridge.Name; name != "" && !config.DefaultBridge.Off {
		if _, err := s.links.Addresses(name); err != nil { // before anything is made
			_ = s.links.Close()
			return nil, fmt.Errorf("network: %w", err)
		}
	}
	if s.flows, err = netlink.OpenFilter(); err != nil {
		_ = s.links.Close()
		return nil, fmt.Errorf("network: %w", err)
	}
	if !config.FirewallOff {
		if s.wall, err = firewall.Open(config.Table, config.linkPrefix()); err != nil {
			_ = s.links.Close()
			_ = s.flows.Close()
			return nil, fmt.Errorf("network: %w", err)
		}
	}
	return s, nil
}

// Close lets go of the held ports and of the kernel's sockets. Links and rules stay as they are, for the
// containers that go on running.
func (s *Service) Close() error {
	s.ports.Close()
	s.dns.Shut()
	s.stop()
	s.unbind()
	for _, g := range s.guards {
		_ = g.Close()
	}
	err := errors.Join(s.links.Close(), s.flows.Close())
	if s.wall != nil {
		err = errors.Join(err, s.wall.Close())
	}
	return err
}

// NewNamespace makes a fresh network namespace with its loopback interface up. It is not pinned anywhere: it lives
// as long as the file, or a process in it. The caller closes the file.
func (s *Service) NewNamespace(ctx context.Context) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return bridge.NewNamespace()
}

// Networks lists the networks by name.
func (s *Service) Networks() []Network {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Network
	for _, m := range s.networks {
		all = append(all, m.Network)
	}
	slices.SortFunc(all, func(a, b Network) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Network finds a network by its id, its name, or the beginning of its id when that is unique.
func (s *Service) Network(idOrName string) (Network, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.find(idOrName)
	if err != nil {
		return Network{}, err
	}
	return m.Network, nil
}

func (s *Service) find(idOrName string) (*member, error) {
	if m := s.networks[idOrName]; m != nil {
		return m, nil
	}
	var found []*member
	for _, m := range s.networks {
		if m.Name == idOrName {
			return m, nil
		}
		if idOrName != "" && strings.HasPrefix(m.ID, idOrName) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, errdefs.NotFound("network %s not found", idOrName)
	}
	return nil, errdefs.InvalidArgument("network %s is ambiguous: %d networks' ids begin so", idOrName, len(found))
}

// Endpoints lists all endpoints by id.
func (s *Service) Endpoints() []Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Endpoint
	for _, id := range slices.Sorted(maps.Keys(s.endpoints)) {
		all = append(all, s.endpoints[id].Endpoint)
	}
	return all
}

// Usage counts the addresses of one subnet: those that are taken and those that are still free to give.
type Usage struct {
	Subnet      netip.Prefix
	Taken, Free uint64
}

// Usage counts the addresses of a network's subnets.
func (s *Service) Usage(id string) []Usage {
	s.mu.Lock()
	m := s.networks[id]
	s.mu.Unlock()
	if m == nil {
		return nil
	}
	var all []Usage
	for i, sub := range m.subnets {
		u := Usage{Subnet: m.Subnets[i].Prefix}
		u.Taken, u.Free = sub.Usage()
		all = append(all, u)
	}
	return all
}

// walls returns what the firewall should hold: of all networks and of the connected endpoints.
func (s *Service) walls() firewall.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all firewall.State
	for _, id := range slices.Sorted(maps.Keys(s.networks)) {
		if m := s.networks[id]; m.Driver == DriverBridge {
			all.Networks = append(all.Networks, m.Wall(s.config.HostPolicy))
		}
	}
	for _, c := range s.endpoints {
		if m := s.networks[c.Network]; c.published && m != nil {
			all.Ports = append(all.Ports, c.WallPorts()...)
			all.Bindings = append(all.Bindings, c.Bindings(m.Network)...)
		}
	}
	for _, gone := range s.unbound {
		all.Bindings = append(all.Bindings, gone...)
	}
	return all
}

// Wall is what the firewall knows of a bridge network; host tells whether the host's own rules decide who enters it.
func (n Network) Wall(host bool) firewall.Network {
	w := firewall.Network{ID: n.ID, Bridge: n.Bridge, Internal: n.Internal, ICC: n.ICC, Host: host}
	for _, sub := range n.Subnets {
		w.Subnets = append(w.Subnets, firewall.Subnet{Prefix: sub.Prefix,
			Masquerade: n.Masquerade && n.mode(sub.Prefix.Addr()) != ModeRouted,
			Open:       n.mode(sub.Prefix.Addr()) == ModeRouted, Unprotected: n.mode(sub.Prefix.Addr()) == ModeUnprotected})
	}
	return w
}

// WallPorts are what the firewall knows of an endpoint that is connected.
func (e *Endpoint) WallPorts() []firewall.Port {
	var ports []firewall.Port
	for _, p := range e.Ports {
		ports = append(ports, firewall.Port{Container: e.Container, Proto: p.Proto, HostIP: p.HostIP, HostPort: p.HostPort,
			Target: netip.AddrPortFrom(e.target(p.HostIP), p.ContainerPort)})
	}
	return ports
}

// Bindings are what the endpoint's link may send from.
func (e *Endpoint) Bindings(n Network) []firewall.Binding {
	if n.Driver != DriverBridge {
		return nil
	}
	b := firewall.Binding{Container: e.Container, Link: e.HostLink}
	if n.Spoofing {
		return []firewall.Binding{b}
	}
	b.MAC, _ = net.ParseMAC(e.MAC) // ours: always well-formed
	all := make([]firewall.Binding, 0, 3)
	add := func(a netip.Addr) {
		b.Address = a
		all = append(all, b)
	}
	for _, p := range e.addresses() {
		add(p.Addr())
	}
	for _, a := range e.LinkLocal {
		add(a)
	}
	if e.Address6.IsValid() {
		add(bridge.LinkLocal(b.MAC).Addr())
	}
	return all
}

// reconcile makes the firewall equal to the records. Between the look at these and its end nothing is changed beside it:
// what a container's start has just put there would be taken for what no record explains.
func (s *Service) reconcile() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return s.wall.Reconcile(s.walls())
}

// firewalled runs a change of the firewall, unless it is off. When the change finds the table or a part of it gone
// (somebody flushed the ruleset) the whole is put back, with the change in it.
func (s *Service) firewalled(change func(*firewall.Table) error) error {
	if s.wall == nil {
		return nil
	}
	s.turn.RLock()
	err := change(s.wall)
	s.turn.RUnlock()
	if firewall.IsMissing(err) {
		s.log.Warn("nftables table was changed by somebody else: putting it back", "op", "firewall", "err", err)
		err = s.reconcile()
	}
	if err != nil {
		return fmt.Errorf("nft table %s: %w", s.config.Table, err)
	}
	return nil
}
