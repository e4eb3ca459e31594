package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network/firewall"
)

// Republish changes the published ports of an attached endpoint to those of r (Ports and Publish alone count) and
// returns it: the record to keep. What is granted and still wanted stays as it is, with its connections; the rest
// changes in one transaction of the firewall. After an error all is as before.
func (s *Service) Republish(ctx context.Context, id string, r Request) (Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return Endpoint{}, err
	}
	s.mu.Lock()
	c := s.endpoints[id]
	var m *member
	var e Endpoint
	if c != nil {
		e, m = c.Endpoint, s.networks[c.Network]
	}
	s.mu.Unlock()
	if c == nil || m == nil {
		return Endpoint{}, errdefs.NotFound("endpoint %s is not attached", id)
	}
	asked, err := checkPorts(m.Network, s.config, r)
	if err != nil {
		return e, fmt.Errorf("network %s: container %s: %w", m.Name, e.label(), err)
	}
	stay, missing := granted(e.Ports, asked, m.Network)
	made := e
	if made.Ports, err = s.holdPorts(e, m.Network, missing); err != nil {
		return e, fmt.Errorf("driver failed programming external connectivity on endpoint %s (%s): %w", e.label(), e.ID, err)
	}
	gone := e
	gone.Ports = slices.DeleteFunc(slices.Clone(e.Ports), func(p Port) bool { return slices.Contains(stay, p) })
	after := e
	after.Ports = append(stay, made.Ports...)
	if err := s.exchange(c, m, &made, &gone, after); err != nil {
		s.letGo(&made)
		return e, fmt.Errorf("container %s: publish ports: %w", e.label(), err)
	}
	s.letGo(&gone)
	return after, nil
}

// granted tells which of the ports that an endpoint has are still asked for, and what else is.
func granted(have []Port, asked []wanted, n Network) (stay []Port, missing []wanted) {
	free := slices.Clone(have)
	for _, w := range asked {
		match := w.among(free, n)
		if match == nil {
			missing = append(missing, w)
			continue
		}
		stay = append(stay, match...)
		free = slices.DeleteFunc(free, func(p Port) bool { return slices.Contains(match, p) })
	}
	return stay, missing
}

// among finds the ports that grant w: one of each of its addresses, all with one number. nil: there are none.
func (w *wanted) among(have []Port, n Network) []Port {
	for _, first := range have {
		number := first.HostPort
		inRange := w.HostPort == 0 || number >= w.HostPort && number <= max(w.HostPort, w.HostPortEnd)
		if !inRange && number != 0 {
			continue
		}
		var match []Port
		for _, a := range w.on {
			p := Port{Proto: w.Proto, ContainerPort: w.ContainerPort, HostIP: a, HostPort: number}
			if n.mode(a) == ModeRouted {
				p.HostPort = 0
			}
			if slices.Contains(have, p) {
				match = append(match, p)
			}
		}
		if len(match) == len(w.on) {
			return match
		}
	}
	return nil
}

// exchange puts made's ports into the firewall's maps and takes gone's out, and enters after as the endpoint.
func (s *Service) exchange(c *connection, m *member, made, gone *Endpoint, after Endpoint) error {
	if err := s.forgetOldFlows(*made, m); err != nil {
		return err
	}
	enter := func(e Endpoint) {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.Endpoint = e
	}
	before := c.Endpoint
	enter(after)
	err := s.firewalled(func(t *firewall.Table) error { return t.Exchange(made.WallPorts(), gone.WallPorts()) })
	if err != nil {
		enter(before)
	}
	return err
}

// letGo gives up what an endpoint's ports held: their sockets, and the flows of UDP, which would live on.
func (s *Service) letGo(e *Endpoint) {
	for _, p := range e.Ports {
		s.ports.ReleasePort(e.ID, p.Proto, p.HostIP, p.HostPort)
		if p.Proto == "udp" && p.HostPort != 0 {
			to := netlink.Flows{Proto: unix.IPPROTO_UDP, To: netip.AddrPortFrom(p.HostIP, p.HostPort)}
			if err := s.flows.DeleteFlows(to); err != nil && !errors.Is(err, unix.ENOENT) {
				s.log.Warn("flows of a withdrawn port", "container", e.Container, "err", err)
			}
		}
	}
}
