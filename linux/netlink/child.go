package netlink

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Values of linux/if_link.h, which x/sys/unix does not name: struct nlattrs and modes of macvlan, ipvlan and vlan.
const (
	macvlanMode = 1 // IFLA_MACVLAN_MODE
	ipvlanMode  = 1 // IFLA_IPVLAN_MODE
	ipvlanFlags = 2 // IFLA_IPVLAN_FLAGS
	vlanID      = 1 // IFLA_VLAN_ID
)

// Child describes an interface on top of another one, born inside a container's namespace.
type Child struct {
	Kind      string // "macvlan" or "ipvlan"
	Mode      uint32 // the kernel's number for it
	Flags     uint16 // ipvlan's
	Parent    int    // index, in this socket's namespace
	MTU       int    // 0: the parent's
	Name      string // inside
	MAC       net.HardwareAddr
	Namespace *os.File
}

// CreateChild makes the interface; it is still down. EOPNOTSUPP: the kernel has no such kind; EBUSY: the parent is a bridge's
// port, or another kind of child has it.
func (s *Socket) CreateChild(c Child) error {
	m := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL).link(unix.AF_UNSPEC, 0, 0, 0).
		str(unix.IFLA_IFNAME, c.Name).u32(unix.IFLA_LINK, uint32(c.Parent)).u32(unix.IFLA_NET_NS_FD, uint32(c.Namespace.Fd()))
	if len(c.MAC) > 0 {
		m.attr(unix.IFLA_ADDRESS, c.MAC)
	}
	if c.MTU > 0 {
		m.u32(unix.IFLA_MTU, uint32(c.MTU))
	}
	m.nest(unix.IFLA_LINKINFO, func() {
		m.str(unix.IFLA_INFO_KIND, c.Kind)
		m.nest(unix.IFLA_INFO_DATA, func() {
			if c.Kind == "macvlan" {
				m.u32(macvlanMode, c.Mode)
			} else {
				m.u16(ipvlanMode, uint16(c.Mode))
				m.u16(ipvlanFlags, c.Flags)
			}
		})
	})
	return s.do(m)
}

// CreateVLAN makes an interface for what comes with an 802.1Q tag on another one, marks it and brings it up. EEXIST: the name
// is taken; EOPNOTSUPP: the kernel has none.
func (s *Socket) CreateVLAN(name, alias string, parent int, id uint16) error {
	m := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL).link(unix.AF_UNSPEC, 0, 0, 0).
		str(unix.IFLA_IFNAME, name).u32(unix.IFLA_LINK, uint32(parent))
	m.nest(unix.IFLA_LINKINFO, func() {
		m.str(unix.IFLA_INFO_KIND, "vlan")
		m.nest(unix.IFLA_INFO_DATA, func() { m.u16(vlanID, id) })
	})
	if err := s.do(m); err != nil {
		return err
	}
	return s.do(setLink(name).str(unix.IFLA_IFALIAS, alias),
		newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP).str(unix.IFLA_IFNAME, name))
}
