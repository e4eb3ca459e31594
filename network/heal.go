package network

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/netlink"
)

// What somebody else breaks is put back: the kernel tells of changes, and what concerns this instance makes it equal
// to the records again.
//
//	nft flush ruleset, a firewall's reload ──▶ a generation that is not ours ───▶ the rules again, at once
//	ip link del/set down/set name ───────────▶ a bridge or a link of ours ────┬─▶ (settle) ─▶ heal
//	ip addr del ─────────────────────────────▶ an address of a bridge ────────┘
const (
	settle   = 20 * time.Millisecond  // several changes come together
	between  = 200 * time.Millisecond // from one healing to the next: who breaks things in a loop gets no processor
	healTime = 10 * time.Second
)

// Guard heals until Close is called.
func (s *Service) Guard() error {
	links, err := netlink.WatchLinks(s.config.Instance, linkMark)
	if err != nil {
		return fmt.Errorf("network: guard: %w", err)
	}
	s.guards = append(s.guards, links)
	wake, flushed := make(chan struct{}, 1), make(chan struct{}, 1)
	watch := func(e *netlink.Events, wake chan<- struct{}, concerns func(netlink.Change) bool) {
		for {
			concerned := false
			err := e.Next(func(c netlink.Change) { concerned = concerned || c.Lost || concerns(c) })
			if err != nil {
				s.wakeGuard(wake)
				return // closed
			}
			if concerned {
				s.wakeGuard(wake)
			}
		}
	}
	if s.wall != nil {
		rules, err := netlink.WatchFirewall()
		if err != nil {
			return errors.Join(fmt.Errorf("network: guard: %w", err), links.Close())
		}
		s.guards = append(s.guards, rules)
		go watch(rules, flushed, func(netlink.Change) bool { return true })
	}
	go watch(links, wake, s.concerns)
	go s.guard(wake, flushed)
	return nil
}

func (s *Service) wakeGuard(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it is awake already
	}
}

func (s *Service) guard(wake, flushed <-chan struct{}) {
	for {
		select {
		case <-s.closing.Done():
			return
		case <-flushed:
			// At once: until the rules are back nothing keeps strangers out.
			if err := s.reconcile(); err != nil {
				s.log.Error("the firewall differs from its records", "op", "heal", "err", err)
			}
			time.Sleep(settle)
			continue
		case <-wake:
		}
		time.Sleep(settle)
		select {
		case <-wake:
		default:
		}
		ctx, cancel := context.WithTimeout(s.closing, healTime)
		if err := s.heal(ctx); err != nil {
			s.log.Error("the network differs from its records", "op", "heal", "err", err)
		}
		cancel()
		time.Sleep(between)
	}
}

// concerns tells whether a change of a link may be one that is to be put back.
func (s *Service) concerns(c netlink.Change) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.networks {
		if m.Driver != DriverBridge || c.Link.Name != m.Bridge && c.Link.Index != m.index {
			continue
		}
		return c.Gone || !c.Link.Up || c.Link.Name != m.Bridge
	}
	return !c.Gone && strings.HasPrefix(c.Link.Alias, s.config.aliasPrefix()) // a link of ours under a strange name
}

// heal makes the kernel equal to the records of what is connected.
func (s *Service) heal(ctx context.Context) error {
	var failed []error
	s.mu.Lock()
	failed = append(failed, s.healNames(ctx))
	for _, m := range s.networks {
		if m.Driver != DriverBridge {
			continue
		}
		if _, err := s.ensureBridge(m); err != nil {
			failed = append(failed, fmt.Errorf("network %s: %w", m.Name, err))
		}
	}
	links, err := s.links.List()
	if err == nil {
		failed = append(failed, s.healLinks(ctx, links))
	}
	s.mu.Unlock()
	failed = append(failed, err)
	if s.wall != nil {
		failed = append(failed, s.reconcile())
	}
	return errors.Join(failed...)
}

// healNames gives renamed bridges their names back. Called with s.mu held.
func (s *Service) healNames(ctx context.Context) error {
	links, err := s.links.List()
	if err != nil {
		return err
	}
	named, byAlias := map[string]bool{}, map[string]netlink.Link{}
	for _, l := range links {
		named[l.Name] = true
		if l.Kind == "bridge" {
			byAlias[l.Alias] = l
		}
	}
	var failed []error
	for _, m := range s.networks {
		l, ok := byAlias[s.config.bridgeAlias(m.ID)]
		if !ok || m.External || l.Name == m.Bridge || named[m.Bridge] {
			continue
		}
		s.log.WarnContext(ctx, "a bridge was renamed by somebody else", "op", "heal", "network", m.Name, "link", l.Name)
		if err := s.links.Rename(l.Index, m.Bridge); err != nil {
			failed = append(failed, fmt.Errorf("link %s: %w", l.Name, err))
		}
	}
	return errors.Join(failed...)
}

// healLinks gives renamed links their names back and puts the containers' links on their bridges. Called with s.mu
// held.
func (s *Service) healLinks(ctx context.Context, links []netlink.Link) error {
	byName, strange := map[string]netlink.Link{}, map[string][]netlink.Link{}
	for _, l := range links {
		byName[l.Name] = l
		if l.Kind == "veth" && l.Alias != "" && !strings.HasPrefix(l.Name, s.config.linkPrefix()) {
			strange[l.Alias] = append(strange[l.Alias], l)
		}
	}
	var failed []error
	for _, c := range s.endpoints {
		m := s.networks[c.Network]
		if !c.published || m == nil || c.HostLink == "" {
			continue
		}
		l, ok := byName[c.HostLink]
		if !ok {
			if l, ok = s.renamed(c.Endpoint, m, strange); !ok {
				continue // it is gone with its container, or for good
			}
			s.log.WarnContext(ctx, "a link was renamed by somebody else", "op", "heal", "container", c.Container, "link", l.Name)
			if err := s.links.Rename(l.Index, c.HostLink); err != nil {
				failed = append(failed, fmt.Errorf("link %s: %w", l.Name, err))
				continue
			}
			l.Up = false
		}
		if l.Master != m.index || !l.Up {
			if err := s.links.Rejoin(c.HostLink, m.index); err != nil && !errors.Is(err, unix.ENODEV) {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// renamed finds an endpoint's link under another name: by its alias and, of a container with several, its bridge.
func (s *Service) renamed(e Endpoint, m *member, strange map[string][]netlink.Link) (netlink.Link, bool) {
	candidates := strange[s.config.linkAlias(e.Container)]
	for _, l := range candidates {
		if l.Master == m.index || len(candidates) == 1 {
			return l, true
		}
	}
	return netlink.Link{}, false
}
