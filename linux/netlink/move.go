package netlink

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Move takes the interface with that index down and gives it to another network namespace under a name, both at once, so
// that no third name is ever in the way. It keeps its MTU and hardware address and loses its addresses. EEXIST: the
// namespace has an interface of that name.
func (s *Socket) Move(index int, ns *os.File, name string) error {
	down := newMessage(unix.RTM_NEWLINK, 0).link(unix.AF_UNSPEC, index, 0, unix.IFF_UP)
	move := newMessage(unix.RTM_NEWLINK, 0).link(unix.AF_UNSPEC, index, 0, 0).
		str(unix.IFLA_IFNAME, name).u32(unix.IFLA_NET_NS_FD, uint32(ns.Fd()))
	return s.do(down, move)
}

// LastingAddresses lists the addresses of the interface with that index that mean the same everywhere: those of global scope
// that somebody gave it for good (not by DHCP's or a router's lifetime, not of the link alone).
func (s *Socket) LastingAddresses(index int) ([]netip.Prefix, error) {
	m := newMessage(unix.RTM_GETADDR, 0).raw(unix.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0)
	var out []netip.Prefix
	err := s.get(m, unix.NLM_F_DUMP, func(kind uint16, b []byte) {
		if kind != unix.RTM_NEWADDR {
			return
		}
		if a, ok := parseAddress(b); ok && a.Index == index && lasting(b) {
			out = append(out, a.Prefix)
		}
	})
	return out, err
}

// lasting looks at an RTM_NEWADDR's flags and scope (rtnetlink(7), struct ifaddrmsg). The flags' attribute holds more than
// their byte.
func lasting(b []byte) bool {
	flags, scope := uint32(b[2]), b[3]
	for kind, v := range attributes(b[sizeofAddrMessage:]) {
		if kind == unix.IFA_FLAGS {
			flags = number(v)
		}
	}
	return scope == unix.RT_SCOPE_UNIVERSE && flags&unix.IFA_F_PERMANENT != 0
}
