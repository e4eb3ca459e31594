package netlink

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Address is one interface's address.
type Address struct {
	Index  int
	Prefix netip.Prefix
}

// Route is one entry of the main routing table.
type Route struct {
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 for a default route
	Index       int          // outgoing interface, 0 for a multipath or blackhole route
}

// Addresses lists the IPv4 and IPv6 addresses of all interfaces.
func (s *Socket) Addresses() ([]Address, error) {
	m := newMessage(unix.RTM_GETADDR, 0).raw(unix.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0)
	var all []Address
	err := s.get(m, unix.NLM_F_DUMP, func(kind uint16, b []byte) {
		if kind == unix.RTM_NEWADDR {
			if a, ok := parseAddress(b); ok {
				all = append(all, a)
			}
		}
	})
	return all, err
}

func parseAddress(b []byte) (Address, bool) {
	if len(b) < sizeofAddrMessage {
		return Address{}, false
	}
	var ip netip.Addr
	for kind, v := range attributes(b[sizeofAddrMessage:]) {
		// IFA_LOCAL is the interface's own; IFA_ADDRESS is the peer's on point-to-point links.
		if kind == unix.IFA_LOCAL || (kind == unix.IFA_ADDRESS && !ip.IsValid()) {
			ip, _ = netip.AddrFromSlice(v)
		}
	}
	p := netip.PrefixFrom(ip, int(b[1]))
	return Address{Index: int(number(b[4:])), Prefix: p}, p.IsValid()
}

// Routes lists the IPv4 and IPv6 routes of the main table.
func (s *Socket) Routes() ([]Route, error) {
	var all []Route
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		m := newMessage(unix.RTM_GETROUTE, 0).raw(family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		err := s.get(m, unix.NLM_F_DUMP, func(kind uint16, b []byte) {
			if kind == unix.RTM_NEWROUTE {
				if r, ok := parseRoute(b); ok {
					all = append(all, r)
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func parseRoute(b []byte) (Route, bool) {
	if len(b) < sizeofRouteMessage || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return Route{}, false
	}
	table, dst, index := uint32(b[4]), netip.IPv4Unspecified(), 0
	if b[0] == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for kind, v := range attributes(b[sizeofRouteMessage:]) {
		switch kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_OIF:
			index = int(number(v))
		case unix.RTA_TABLE:
			table = number(v)
		}
	}
	p := netip.PrefixFrom(dst, int(b[1]))
	return Route{Destination: p, Index: index}, p.IsValid() && table == unix.RT_TABLE_MAIN
}

// address builds the request that gives the interface with that index an address. An IPv6 address is used at once: whoever
// gave it out knows that there is no other (RFC 4862 section 5.4 would take a second).
func address(index int, p netip.Prefix) *message {
	m := newMessage(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	flags, scope := uint8(0), uint8(unix.RT_SCOPE_UNIVERSE)
	if p.Addr().Is6() {
		flags = unix.IFA_F_NODAD
	}
	if p.Addr().IsLinkLocalUnicast() {
		scope = unix.RT_SCOPE_LINK
	}
	m.raw(family(p.Addr()), uint8(p.Bits()), flags, scope)
	m.b = appendIndex(m.b, index)
	ip := p.Addr().AsSlice()
	m.attr(unix.IFA_LOCAL, ip).attr(unix.IFA_ADDRESS, ip)
	if p.Addr().Is4() && p.Bits() < 31 {
		m.attr(unix.IFA_BROADCAST, broadcast(p))
	}
	return m
}

// A Gateway is a default route's.
type Gateway struct {
	Addr netip.Addr
	// First puts the route before those that are there, else it goes behind them: it serves when they disappear with their
	// interfaces.
	First bool
}

// defaultMetric is that of the first IPv6 default route; those behind and before it differ by one each.
const defaultMetric = 1024

// defaultRoute builds the request for a default route by gateway over the interface with that index. The order of IPv4 routes
// of one metric is that of the requests (NLM_F_APPEND). For IPv6 such routes would share the traffic, so that each has a
// metric of its own: EEXIST tells that the next one is to be tried.
func defaultRoute(index int, g Gateway, metric uint32) *message {
	flags := uint16(unix.NLM_F_CREATE)
	switch {
	case g.Addr.Is6():
		flags |= unix.NLM_F_EXCL
	case !g.First:
		flags |= unix.NLM_F_APPEND
	}
	m := newMessage(unix.RTM_NEWROUTE, flags)
	m.raw(family(g.Addr), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST)
	m.raw(0, 0, 0, 0)
	m.attr(unix.RTA_GATEWAY, g.Addr.AsSlice())
	if g.Addr.Is6() {
		m.u32(unix.RTA_PRIORITY, metric)
	}
	return m.u32(unix.RTA_OIF, uint32(index))
}

// deviceRoute builds the request for a default route by no gateway: everything is asked for on the link (ipvlan's layer 3).
func deviceRoute(index int, family uint8) *message {
	m := newMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	m.raw(family, 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_LINK, unix.RTN_UNICAST).raw(0, 0, 0, 0)
	return m.u32(unix.RTA_OIF, uint32(index))
}

// AddAddress gives the interface with that index an address; one that is there already is no error.
func (s *Socket) AddAddress(index int, p netip.Prefix) error { return s.do(address(index, p)) }

// DeleteAddress takes an address away from the interface with that index.
func (s *Socket) DeleteAddress(index int, p netip.Prefix) error {
	m := newMessage(unix.RTM_DELADDR, 0)
	m.raw(family(p.Addr()), uint8(p.Bits()), 0, unix.RT_SCOPE_UNIVERSE)
	m.b = appendIndex(m.b, index)
	return s.do(m.attr(unix.IFA_LOCAL, p.Addr().AsSlice()))
}

// LocalLoopback lets packets to ::1 in that came by the interface with that index and whose destination was translated to it:
// answers to published ports. None from a wire ever get so far (ipv6_rcv drops them, RFC 4291 section 2.5.3).
func (s *Socket) LocalLoopback(index int) error {
	m := newMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	m.raw(unix.AF_INET6, 128, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_LOCAL).raw(0, 0, 0, 0)
	m.attr(unix.RTA_DST, netip.IPv6Loopback().AsSlice()).u32(unix.RTA_PRIORITY, defaultMetric+uint32(index))
	return s.do(m.u32(unix.RTA_OIF, uint32(index)))
}

// Interface is what Configure gives an interface.
type Interface struct {
	Addresses []netip.Prefix
	Gateways  []Gateway
	Direct    []uint8 // families with a default route that has no gateway
}

// Configure brings the loopback interface and the one with that index up and gives the latter its addresses and default
// routes: all in one system call, when the IPv6 default route is the namespace's first.
func (s *Socket) Configure(index int, i Interface) error {
	up := func(index int) *message {
		return newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, index, unix.IFF_UP, unix.IFF_UP)
	}
	steps := []*message{up(loopbackIndex), up(index)}
	for _, p := range i.Addresses {
		steps = append(steps, address(index, p))
	}
	for _, family := range i.Direct {
		steps = append(steps, deviceRoute(index, family))
	}
	var last *Gateway
	for _, g := range i.Gateways {
		steps = append(steps, defaultRoute(index, g, defaultMetric))
		if g.Addr.Is6() {
			last = &g
		}
	}
	err := s.do(steps...)
	for n := uint32(1); errors.Is(err, unix.EEXIST) && last != nil && n < defaultMetric; n++ {
		metric := defaultMetric + n
		if last.First {
			metric = defaultMetric - n
		}
		err = s.do(defaultRoute(index, *last, metric))
	}
	return err
}

// loopbackIndex is lo's index in every network namespace (LOOPBACK_IFINDEX, net/flow.h).
const loopbackIndex = 1

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func broadcast(p netip.Prefix) []byte {
	ip := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		ip[i/8] |= 0x80 >> (i % 8)
	}
	return ip[:]
}
