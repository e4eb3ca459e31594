package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network/firewall"
	"github.com/conex-containers/conex/network/ipam"
	"github.com/conex-containers/conex/network/portmap"
)

// Load takes the records in without touching the kernel: for an Audit while no daemon runs. Host ports are not held.
func (s *Service) Load(networks []Network, endpoints []Endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.directory = nil
	var failed []error
	for _, n := range networks {
		m, err := newMember(n)
		if err != nil {
			failed = append(failed, fmt.Errorf("network %s: %w", n.Name, err))
			continue
		}
		s.networks[n.ID] = m
	}
	last := map[*ipam.Subnet]netip.Addr{}
	for _, e := range endpoints {
		m := s.networks[e.Network]
		if m == nil || !m.Connects() {
			failed = append(failed, fmt.Errorf("container %s: its network %s has no record", e.label(), e.Network))
			continue
		}
		if err := m.takeAgain(e, last); err != nil {
			failed = append(failed, fmt.Errorf("container %s: %w", e.label(), err))
			continue
		}
		s.endpoints[e.ID] = &connection{Endpoint: e, published: true}
	}
	for sub, a := range last {
		sub.Continue(a) // the addresses after it have been free the longest
	}
	return errors.Join(failed...)
}

// takeAgain gives the endpoint the addresses that it had, and notes each subnet's highest.
func (m *member) takeAgain(e Endpoint, last map[*ipam.Subnet]netip.Addr) error {
	for _, p := range e.addresses() {
		a := p.Addr()
		for i, sub := range m.Subnets {
			if !sub.Prefix.Contains(a) {
				continue
			}
			if err := m.subnets[i].Take(a); err != nil {
				return err
			}
			if last[m.subnets[i]].Less(a) {
				last[m.subnets[i]] = a
			}
		}
	}
	return nil
}

// Restore makes the kernel equal to the records, at daemon start: bridges and rules that are missing are made,
// addresses and host ports are the containers' again, links and rules of this instance that no record explains are
// removed. What is right already is not touched: open connections go on. It does all that it can and returns what
// failed; only endpoints of running containers may be given.
func (s *Service) Restore(ctx context.Context, networks []Network, endpoints []Endpoint) error {
	failed := []error{s.Load(networks, endpoints), s.restoreLinks(ctx)}
	if s.wall != nil {
		failed = append(failed, s.reconcile())
		for _, chain := range s.wall.Obstacles() {
			s.log.WarnContext(ctx, "a chain of another firewall drops forwarded packets: containers' traffic must be accepted there too",
				"op", "restore", "chain", chain)
		}
	} else {
		failed = append(failed, s.removeTable())
	}
	if err := errors.Join(append(failed, s.sweep(ctx))...); err != nil {
		return fmt.Errorf("network: restore: %w", err)
	}
	return nil
}

// restoreLinks repairs the bridges and the containers' links, and holds the containers' ports.
func (s *Service) restoreLinks(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []error
	for _, m := range s.networks {
		if m.Driver == DriverBridge {
			if _, err := s.ensureBridge(m); err != nil {
				failed = append(failed, fmt.Errorf("network %s: %w", m.Name, err))
			}
		}
		if m.child() {
			failed = append(failed, s.ensureParent(m.Network))
		}
	}
	links, err := s.links.List()
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	byName := map[string]netlink.Link{}
	for _, l := range links {
		byName[l.Name] = l
	}
	for _, c := range s.endpoints {
		if err := s.restoreLink(ctx, c.Endpoint, byName[c.HostLink]); err != nil {
			failed = append(failed, fmt.Errorf("container %s: %w", c.label(), err))
		}
	}
	return errors.Join(failed...)
}

// restoreLink holds an endpoint's ports again and repairs its link. Called with s.mu held.
func (s *Service) restoreLink(ctx context.Context, e Endpoint, link netlink.Link) error {
	m := s.networks[e.Network]
	for _, p := range e.Ports {
		if p.HostPort == 0 {
			continue
		}
		err := s.ports.HoldAgain(portmap.Owner{ID: e.ID, Name: e.label()},
			portmap.Port{Proto: p.Proto, Addrs: []netip.Addr{p.HostIP}, First: p.HostPort})
		if err != nil {
			s.log.WarnContext(ctx, "a published port was taken meanwhile; it still leads to the container", "container", e.Container, "err", err)
		}
	}
	if e.HostLink == "" {
		return nil
	}
	if link.Name == "" {
		s.log.WarnContext(ctx, "the container's link is gone: restart it to connect it again", "container", e.Container, "network", m.Name)
		return nil
	}
	if link.Master == m.index && link.Up {
		return nil
	}
	return s.links.Rejoin(e.HostLink, m.index)
}

// sweep removes this instance's links that no record explains.
func (s *Service) sweep(ctx context.Context) error {
	orphans, err := s.orphans()
	if err != nil || len(orphans) == 0 {
		return err
	}
	names := make([]string, len(orphans))
	for i, l := range orphans {
		names[i] = l.Name
		s.log.InfoContext(ctx, "removing a link that no record explains", "op", "sweep", "link", l.Name, "alias", l.Alias)
	}
	return s.links.DeleteAll(names)
}

// orphans lists this instance's links that belong to no network and no endpoint. A link is the instance's by its
// alias, or by its name when a crash came between its birth and its alias.
func (s *Service) orphans() ([]netlink.Link, error) {
	links, err := s.links.List()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]bool{}
	for _, m := range s.networks {
		known[m.Bridge], known[m.Parent] = true, true
	}
	for _, c := range s.endpoints {
		known[c.HostLink] = true
	}
	var all []netlink.Link
	for _, l := range links {
		unmarked := l.Alias == "" && l.Kind == "veth" && strings.HasPrefix(l.Name, s.config.linkPrefix()) && len(l.Name) == maxLinkName
		if !known[l.Name] && (unmarked || strings.HasPrefix(l.Alias, s.config.aliasPrefix())) {
			all = append(all, l)
		}
	}
	return all, nil
}

// dying is how long Audit lets the kernel, and after it the reaper of released links, finish removing the links of
// containers that have just ended.
const dying = 3 * time.Second

// Audit tells, in words, where the kernel and the records differ: objects of this instance that no record explains,
// and objects that should be there and are not. An empty list is a clean bill.
func (s *Service) Audit() ([]string, error) {
	var all []string
	orphans, err := s.orphans()
	if err != nil {
		return nil, fmt.Errorf("network: audit: %w", err)
	}
	leaving := map[string]bool{}
	for _, l := range orphans {
		leaving[l.Name] = true
	}
	if len(leaving) > 0 {
		left, err := s.links.AwaitGone(leaving, dying)
		if err != nil {
			return nil, fmt.Errorf("network: audit: %w", err)
		}
		for _, name := range left {
			all = append(all, fmt.Sprintf("link %s belongs to no record", name))
		}
	}
	missing, err := s.missingLinks()
	if err != nil {
		return nil, fmt.Errorf("network: audit: %w", err)
	}
	all = append(all, missing...)
	if s.wall != nil {
		differences, err := s.auditFirewall()
		if err != nil {
			return nil, fmt.Errorf("network: audit: %w", err)
		}
		all = append(all, differences...)
	}
	return all, nil
}

func (s *Service) auditFirewall() ([]string, error) {
	s.unbind()
	state := s.walls()
	if len(state.Networks) == 0 {
		if exists, err := s.wall.Exists(); err != nil || !exists {
			return nil, err // a daemon that never had a network needs no table
		}
	}
	return s.wall.Differences(state)
}

// missingLinks tells which records have no link in the kernel.
func (s *Service) missingLinks() ([]string, error) {
	links, err := s.links.List()
	if err != nil {
		return nil, err
	}
	there := map[string]netlink.Link{}
	for _, l := range links {
		there[l.Name] = l
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, m := range s.networks {
		if m.Driver == DriverBridge && there[m.Bridge].Kind != "bridge" {
			all = append(all, fmt.Sprintf("network %s: bridge %s is missing", m.Name, m.Bridge))
		}
	}
	for _, c := range s.endpoints {
		if !c.published || c.HostLink == "" {
			continue
		}
		l, ok := there[c.HostLink]
		switch m := s.networks[c.Network]; {
		case !ok:
			all = append(all, fmt.Sprintf("container %s: link %s is missing", c.Container, c.HostLink))
		case m != nil && l.Master != there[m.Bridge].Index:
			all = append(all, fmt.Sprintf("container %s: link %s is not a port of %s", c.Container, c.HostLink, m.Bridge))
		}
	}
	return all, nil
}

// RemoveAll removes every kernel object of this instance and forgets all records: for an uninstall, and for tests.
func (s *Service) RemoveAll(ctx context.Context) error {
	s.mu.Lock()
	s.networks, s.endpoints, s.unbound = map[string]*member{}, map[string]*connection{}, nil
	s.mu.Unlock()
	s.ports.Close()
	return errors.Join(s.removeTable(), s.sweep(ctx))
}

// removeTable deletes the instance's table, also one of a time when the firewall was on.
func (s *Service) removeTable() error { return firewall.RemoveNamed(s.config.Table) }
