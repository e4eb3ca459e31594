package container

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/events"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network"
)

// connection is one network that a container is to be connected to.
type connection struct {
	network  network.Network
	settings *netapi.EndpointSettings
	index    int              // number of the interface: eth<index>
	outside  network.Families // by which its gateway is the container's: it carries the published ports
	first    bool             // its gateway goes before those that a running container has
}

// connections lists a container's bridge networks in the order in which their gateways are preferred: by priority, else
// that of the network mode first, then by name. The interfaces are numbered without regard to priorities.
func (s *Service) connections(rec *Record) ([]connection, error) {
	names := make([]string, 0, len(rec.Networks))
	for n := range rec.Networks {
		names = append(names, n)
	}
	mode := string(rec.HostConfig.NetworkMode)
	if n, err := s.cfg.Network.Network(mode); err == nil {
		mode = n.Name
	}
	slices.SortFunc(names, func(a, b string) int {
		if (a == mode) != (b == mode) {
			if a == mode {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var out []connection
	for _, name := range names {
		n, err := s.cfg.Network.Network(name)
		if err != nil {
			return nil, errdefs.NotFound("network %s not found", name)
		}
		if !n.Connects() {
			continue
		}
		e := rec.Networks[name]
		if e == nil {
			e = &netapi.EndpointSettings{}
		}
		out = append(out, connection{network: n, settings: e, index: len(out)})
	}
	slices.SortStableFunc(out, func(a, b connection) int { return cmp.Compare(b.settings.GwPriority, a.settings.GwPriority) })
	var taken network.Families
	for i := range out {
		out[i].lead(&taken)
	}
	return out, nil
}

// lead makes the connection carry the published ports of the families that it leads out by and no other does.
func (c *connection) lead(taken *network.Families) {
	if c.network.Internal || c.network.Driver != network.DriverBridge {
		return
	}
	c.outside = network.Families{Four: c.network.EnableIPv4 && !taken.Four, Six: c.network.EnableIPv6 && !taken.Six}
	taken.Four, taken.Six = taken.Four || c.network.EnableIPv4, taken.Six || c.network.EnableIPv6
}

// Keys of what is asked of an endpoint's driver, as Docker has them.
const (
	optionInterface = "com.docker.network.endpoint.ifname"
	optionSysctls   = "com.docker.network.endpoint.sysctls"
)

// request asks the network for a connection's endpoint.
func (c *connection) request(rec *Record) network.Request {
	r := network.Request{
		Network: c.network.ID, Container: rec.ID, Name: rec.Name, Interface: c.interfaceName(), First: c.first,
	}
	if all := c.settings.DriverOpts[optionSysctls]; all != "" {
		r.Sysctls = strings.Split(all, ",")
	}
	if c.network.Name != netapi.NetworkBridge {
		r.Names, r.Links = dnsNames(rec, c.settings.Aliases), c.settings.Links
	}
	if ip := c.settings.IPAMConfig; ip != nil {
		r.IPv4, r.IPv6, r.LinkLocal = ip.IPv4Address, ip.IPv6Address, ip.LinkLocalIPs
	}
	if len(c.settings.MacAddress) > 0 {
		r.MAC = c.settings.MacAddress.String()
	}
	if c.outside != (network.Families{}) {
		r.Ports, r.Publish = publishedPorts(rec), c.outside
	}
	return r
}

// interfaceName is the wanted one, or the network's prefix with a number.
func (c *connection) interfaceName() string {
	if name := c.settings.DriverOpts[optionInterface]; name != "" {
		return name
	}
	return cmp.Or(c.network.Interfaces, "eth") + strconv.Itoa(c.index)
}

// publishedPorts lists what -p and -P ask for, in the order of the container's ports.
func publishedPorts(rec *Record) []network.Port {
	hc := rec.HostConfig
	var out []network.Port
	for p, bindings := range hc.PortBindings {
		if len(bindings) == 0 {
			bindings = []netapi.PortBinding{{}}
		}
		for _, b := range bindings {
			first, last, err := hostPorts(b.HostPort)
			if err != nil {
				continue // was checked at the creation
			}
			port := network.Port{Proto: string(p.Proto()), ContainerPort: p.Num(), HostIP: b.HostIP, HostPort: first}
			if last != first {
				port.HostPortEnd = last
			}
			out = append(out, port)
		}
	}
	if hc.PublishAllPorts {
		for p := range rec.Config.ExposedPorts {
			if _, ok := hc.PortBindings[p]; !ok {
				out = append(out, network.Port{Proto: string(p.Proto()), ContainerPort: p.Num()})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b network.Port) int {
		if a.ContainerPort != b.ContainerPort {
			return int(a.ContainerPort) - int(b.ContainerPort)
		}
		return strings.Compare(a.Proto+strconv.Itoa(int(a.HostPort)), b.Proto+strconv.Itoa(int(b.HostPort)))
	})
	return out
}

// networkEvent tells that a container was connected or disconnected.
func (s *Service) networkEvent(action events.Action, networkID, container string) {
	attrs := map[string]string{"container": container}
	if n, err := s.cfg.Network.Network(networkID); err == nil {
		attrs["name"], attrs["type"] = n.Name, n.Driver
	}
	s.cfg.Events.Publish(events.NetworkEventType, action, networkID, attrs)
}

// detach gives all endpoints of a run back.
func (s *Service) detach(ctx context.Context, endpoints []network.Endpoint) error {
	var first error
	for _, e := range endpoints {
		if err := s.cfg.Network.Detach(ctx, e); err != nil && first == nil {
			first = fmt.Errorf("network %s: detach: %w", e.Network, err)
		}
	}
	return first
}

// endpointSettings are what inspect and list show of a container's networks.
func (s *Service) endpointSettings(v *view) map[string]*netapi.EndpointSettings {
	out := make(map[string]*netapi.EndpointSettings, len(v.Networks))
	for name, wanted := range v.Networks {
		e := wanted.Copy()
		if e == nil {
			e = &netapi.EndpointSettings{}
		}
		n, err := s.cfg.Network.Network(name)
		if err == nil {
			e.NetworkID = n.ID
		}
		if n.Connects() && name != netapi.NetworkBridge {
			e.DNSNames = dnsNames(&v.Record, e.Aliases)
		}
		for i := range v.Run.Endpoints {
			if got := &v.Run.Endpoints[i]; err == nil && got.Network == n.ID {
				e.EndpointID, e.Gateway = got.ID, got.Gateway
				if got.Address.IsValid() {
					e.IPAddress, e.IPPrefixLen = got.Address.Addr(), got.Address.Bits()
				}
				if got.Address6.IsValid() {
					e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway = got.Address6.Addr(), got.Address6.Bits(), got.Gateway6
				}
				_ = e.MacAddress.UnmarshalText([]byte(got.MAC)) // ours: always well-formed
			}
		}
		out[name] = e
	}
	return out
}

// dnsNames is what the others of a network call a container.
func dnsNames(v *Record, aliases []string) []string {
	out := []string{v.Name}
	for _, n := range append(append([]string{}, aliases...), v.ID[:12], v.Config.Hostname) {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// portMap is NetworkSettings.Ports: granted bindings, and exposed ports without one.
func portMap(v *view) netapi.PortMap {
	out := netapi.PortMap{}
	if !v.alive() {
		return out
	}
	for p := range v.Config.ExposedPorts {
		out[p] = nil
	}
	for p := range v.HostConfig.PortBindings {
		out[p] = nil
	}
	for _, e := range v.Run.Endpoints {
		for _, g := range e.Ports {
			p, ok := netapi.PortFrom(g.ContainerPort, netapi.IPProtocol(g.Proto))
			if !ok || g.HostPort == 0 {
				continue
			}
			ip := g.HostIP
			if !ip.IsValid() {
				ip = netip.IPv4Unspecified()
			}
			out[p] = append(out[p], netapi.PortBinding{HostIP: ip, HostPort: strconv.Itoa(int(g.HostPort))})
		}
	}
	return out
}
