package network

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/conex-containers/conex/network/dns"
)

// Upstream is where a container's questions go that no network answers.
type Upstream = dns.Upstream

// NameServer is what a container with a resolver of ours has as its name server.
var NameServer = dns.Address

// Resolve answers a container's questions for names in its namespace from now on, until its last endpoint is
// detached. Again it changes the upstream.
func (s *Service) Resolve(ctx context.Context, container string, netns *os.File, up Upstream) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.dns.Open(container, netns, up)
}

// silence ends the resolver of a container whose last endpoint goes.
func (s *Service) silence(e Endpoint) {
	s.mu.Lock()
	last := true
	for _, c := range s.endpoints {
		last = last && (c.Container != e.Container || c.ID == e.ID)
	}
	s.mu.Unlock()
	if last {
		s.dns.Close(e.Container)
	}
}

// Rename changes by which names others find an endpoint, and returns it: the record to keep.
func (s *Service) Rename(id, name string, names []string) (Endpoint, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.endpoints[id]
	if c == nil {
		return Endpoint{}, false
	}
	c.Name, c.Names = name, slices.Clone(names)
	s.directory = nil
	return c.Endpoint, true
}

// directory is who can be found: network -> name in lower case -> addresses, and which networks each container is on,
// in the order of their interfaces.
type directory map[string]*listing

type listing struct {
	names map[string][]netip.Addr // of a network
	at    map[netip.Addr]string   // of a network
	on    []*connection           // of a container
}

// list builds the directory anew after a change. Called with s.mu held.
func (s *Service) list() directory {
	if s.directory != nil {
		return s.directory
	}
	d := directory{}
	get := func(key string) *listing {
		l := d[key]
		if l == nil {
			l = &listing{names: map[string][]netip.Addr{}, at: map[netip.Addr]string{}}
			d[key] = l
		}
		return l
	}
	for _, c := range s.endpoints {
		if !c.published {
			continue
		}
		of := get("container " + c.Container)
		of.on = append(of.on, c)
		l := get(c.Network)
		for _, p := range c.addresses() {
			a := p.Addr()
			for i, name := range c.Names {
				name = strings.ToLower(name)
				if !slices.Contains(l.names[name], a) {
					l.names[name] = append(l.names[name], a)
				}
				if i == 0 {
					l.at[a] = name
				}
			}
		}
	}
	for _, l := range d {
		slices.SortFunc(l.on, func(a, b *connection) int { return strings.Compare(a.Interface, b.Interface) })
	}
	s.directory = d
	return d
}

// answers is what the resolver is told (dns.Names).
type answers struct{ s *Service }

// Addresses finds a name as a container sees it: first its own names for others, then those of its
// networks in the order of its interfaces, alone or followed by the network's name.
func (a answers) Addresses(container, name string) (found []netip.Addr, known bool) {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.list()
	self := d["container "+container]
	if self == nil {
		return nil, false
	}
	for _, c := range self.on {
		l, network := d[c.Network], s.networks[c.Network]
		asked := name
		for _, link := range c.Links {
			target, alias, ok := strings.Cut(link, ":")
			if ok && strings.EqualFold(alias, name) {
				asked = strings.ToLower(target)
			}
		}
		found = l.names[asked]
		if len(found) == 0 && network != nil {
			if short, ok := strings.CutSuffix(name, "."+strings.ToLower(network.Name)); ok {
				found = l.names[short]
			}
		}
		if len(found) > 0 {
			return slices.Clone(found), true
		}
	}
	return nil, false
}

// Name tells what one at an address of the container's networks is called.
func (a answers) Name(container string, address netip.Addr) string {
	s := a.s
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.list()
	self := d["container "+container]
	if self == nil {
		return ""
	}
	for _, c := range self.on {
		if name := d[c.Network].at[address]; name != "" {
			if n := s.networks[c.Network]; n != nil {
				name += "." + n.Name
			}
			return name
		}
	}
	return ""
}
