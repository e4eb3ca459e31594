package netlink

import (
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
	Destination netip.Prefix // 0.0.0.0/0 for a default route
	Index       int          // outgoing interface, 0 for a multipath or blackhole route
}

// Addresses lists the IPv4 addresses of all interfaces.
func (s *Socket) Addresses() ([]Address, error) {
	m := newMessage(unix.RTM_GETADDR, 0).raw(unix.AF_INET, 0, 0, 0, 0, 0, 0, 0)
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

// Routes lists the IPv4 routes of the main table.
func (s *Socket) Routes() ([]Route, error) {
	m := newMessage(unix.RTM_GETROUTE, 0).raw(unix.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	var all []Route
	err := s.get(m, unix.NLM_F_DUMP, func(kind uint16, b []byte) {
		if kind == unix.RTM_NEWROUTE {
			if r, ok := parseRoute(b); ok {
				all = append(all, r)
			}
		}
	})
	return all, err
}

func parseRoute(b []byte) (Route, bool) {
	if len(b) < sizeofRouteMessage || b[0] != unix.AF_INET {
		return Route{}, false
	}
	table, dst, index := uint32(b[4]), netip.IPv4Unspecified(), 0
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

// address builds the request that gives the interface with that index an address.
func address(index int, p netip.Prefix) *message {
	m := newMessage(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	m.raw(family(p.Addr()), uint8(p.Bits()), 0, unix.RT_SCOPE_UNIVERSE)
	m.b = appendIndex(m.b, index)
	ip := p.Addr().AsSlice()
	m.attr(unix.IFA_LOCAL, ip).attr(unix.IFA_ADDRESS, ip)
	if p.Addr().Is4() && p.Bits() < 31 {
		m.attr(unix.IFA_BROADCAST, broadcast(p))
	}
	return m
}

// defaultRoute builds the request for a default route by gateway over the interface with that index. Where there is
// one already it goes behind it (NLM_F_APPEND) and serves when the first disappears with its interface.
func defaultRoute(index int, gateway netip.Addr) *message {
	m := newMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND)
	m.raw(family(gateway), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST)
	m.raw(0, 0, 0, 0)
	m.attr(unix.RTA_GATEWAY, gateway.AsSlice())
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

// Configure brings the loopback interface and the one with that index up and gives the latter an address and,
// unless gateway is the zero value, a default route: all in one system call.
func (s *Socket) Configure(index int, p netip.Prefix, gateway netip.Addr) error {
	up := func(index int) *message {
		return newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, index, unix.IFF_UP, unix.IFF_UP)
	}
	steps := []*message{up(loopbackIndex), up(index), address(index, p)}
	if gateway.IsValid() {
		steps = append(steps, defaultRoute(index, gateway))
	}
	return s.do(steps...)
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
