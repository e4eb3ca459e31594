package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/network/firewall"
)

// Explain tells what the kernel has of a container's endpoints: the host ends of their links, and the elements of
// their published ports.
func (s *Service) Explain(container string) ([]docker.ExplainedEndpoint, error) {
	var out []docker.ExplainedEndpoint
	links, err := s.links.List()
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	for _, e := range s.endpointsOf(container) {
		n, err := s.Network(e.Network)
		if err != nil {
			continue // it is being removed
		}
		x := docker.ExplainedEndpoint{
			Network: n.Name, Interface: e.Interface, MAC: e.MAC, HostLink: e.HostLink, Parent: n.Parent,
		}
		for _, a := range e.addresses() {
			x.Addresses = append(x.Addresses, a.String())
		}
		for _, a := range e.LinkLocal {
			x.Addresses = append(x.Addresses, a.String())
		}
		for _, g := range []netip.Addr{e.Gateway, e.Gateway6} {
			if g.IsValid() {
				x.Gateways = append(x.Gateways, g.String())
			}
		}
		master := 0
		for _, l := range links {
			if l.Name == e.HostLink {
				x.HostIndex, x.Up, master = l.Index, l.Up, l.Master
			}
		}
		for _, l := range links {
			if master != 0 && l.Index == master {
				x.Bridge = l.Name
			}
		}
		if x.Rules, err = s.rules(e); err != nil {
			return nil, fmt.Errorf("network %s: %w", n.Name, err)
		}
		out = append(out, x)
	}
	return out, nil
}

func (s *Service) endpointsOf(container string) []Endpoint {
	list := slices.DeleteFunc(s.Endpoints(), func(e Endpoint) bool { return e.Container != container })
	slices.SortFunc(list, func(a, b Endpoint) int { return cmp.Compare(a.Interface, b.Interface) })
	return list
}

// rules reads the kernel without healing it: what is missing is to be seen.
func (s *Service) rules(e Endpoint) ([]docker.ExplainedRule, error) {
	if s.wall == nil {
		return nil, nil
	}
	elements, err := s.wall.Elements(e.WallPorts())
	var out []docker.ExplainedRule
	for _, el := range elements {
		out = append(out, docker.ExplainedRule(el))
	}
	if firewall.IsMissing(err) {
		err = nil
	}
	return out, err
}
