package netlink

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Values of linux/veth.h and linux/if_link.h that x/sys/unix does not name.
const (
	vethInfoPeer       = 1 // VETH_INFO_PEER
	extMaskSkipStats   = 8 // RTEXT_FILTER_SKIP_STATS
	operationalUp      = 6 // IF_OPER_UP
	addrGenModeNone    = 1 // IN6_ADDR_GEN_MODE_NONE
	bridgePortHairpin  = unix.IFLA_BRPORT_MODE
	bridgePortIsolated = unix.IFLA_BRPORT_ISOLATED
	sizeofLinkMessage  = unix.SizeofIfInfomsg
	sizeofAddrMessage  = unix.SizeofIfAddrmsg
	sizeofRouteMessage = unix.SizeofRtMsg
)

// Link is what the kernel tells of one network interface.
type Link struct {
	Index  int
	Name   string
	Alias  string // ifalias: whose it is
	Kind   string // "veth", "bridge", "" for hardware
	Master int    // index of the bridge it is a port of, or 0
	Group  uint32
	MTU    int
	Up     bool // administratively
	Ready  bool // operational: frames pass
	MAC    net.HardwareAddr
}

// Links lists all interfaces of the namespace.
func (s *Socket) Links() ([]Link, error) {
	m := newMessage(unix.RTM_GETLINK, 0).link(unix.AF_UNSPEC, 0, 0, 0).u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	var links []Link
	err := s.get(m, unix.NLM_F_DUMP, func(kind uint16, b []byte) {
		if kind == unix.RTM_NEWLINK {
			if l, ok := parseLink(b); ok {
				links = append(links, l)
			}
		}
	})
	return links, err
}

// Link finds the interface of that name; ENODEV when there is none.
func (s *Socket) Link(name string) (Link, error) {
	m := newMessage(unix.RTM_GETLINK, 0).link(unix.AF_UNSPEC, 0, 0, 0).
		str(unix.IFLA_IFNAME, name).u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	var link Link
	err := s.get(m, 0, func(_ uint16, b []byte) { link, _ = parseLink(b) })
	return link, err
}

// parseLink reads an RTM_NEWLINK's payload.
func parseLink(b []byte) (Link, bool) {
	if len(b) < sizeofLinkMessage {
		return Link{}, false
	}
	l := Link{Index: int(int32(number(b[4:]))), Up: number(b[8:])&unix.IFF_UP != 0}
	for kind, v := range attributes(b[sizeofLinkMessage:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			l.Name = text(v)
		case unix.IFLA_IFALIAS:
			l.Alias = text(v)
		case unix.IFLA_MASTER:
			l.Master = int(number(v))
		case unix.IFLA_OPERSTATE:
			l.Ready = len(v) == 1 && v[0] == operationalUp
		case unix.IFLA_GROUP:
			l.Group = number(v)
		case unix.IFLA_MTU:
			l.MTU = int(number(v))
		case unix.IFLA_ADDRESS:
			l.MAC = append(net.HardwareAddr(nil), v...)
		case unix.IFLA_LINKINFO:
			for kind, v := range attributes(v) {
				if kind == unix.IFLA_INFO_KIND {
					l.Kind = text(v)
				}
			}
		}
	}
	return l, true
}

// Veth describes a pair: a host end that is a port of a bridge, and a peer born inside a container's namespace.
type Veth struct {
	Name      string // host end
	Master    int    // index of the bridge
	MTU       int    // 0: the kernel's default
	Peer      string // name inside
	PeerMAC   net.HardwareAddr
	Namespace *os.File // where the peer is born
}

// CreateVeth makes the pair by one request: the peer appears inside its namespace under its final name and
// address, so there is no move between namespaces (which would wait for an RCU grace period, 15 ms) and no rename.
// Both ends are still down: the peer could not come up before it has another end (veth_open refuses with ENOTCONN),
// and the host end must not before EnablePort. EEXIST: one of the names is taken; EINVAL: no such master.
func (s *Socket) CreateVeth(v Veth) error {
	m := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL).
		link(unix.AF_UNSPEC, 0, 0, 0).
		str(unix.IFLA_IFNAME, v.Name).
		u32(unix.IFLA_MASTER, uint32(v.Master))
	if v.MTU > 0 {
		m.u32(unix.IFLA_MTU, uint32(v.MTU))
	}
	m.nest(unix.IFLA_LINKINFO, func() {
		m.str(unix.IFLA_INFO_KIND, "veth")
		m.nest(unix.IFLA_INFO_DATA, func() {
			m.nest(vethInfoPeer, func() {
				m.link(unix.AF_UNSPEC, 0, 0, 0)
				m.str(unix.IFLA_IFNAME, v.Peer)
				m.attr(unix.IFLA_ADDRESS, v.PeerMAC)
				if v.MTU > 0 {
					m.u32(unix.IFLA_MTU, uint32(v.MTU))
				}
				m.u32(unix.IFLA_NET_NS_FD, uint32(v.Namespace.Fd()))
			})
		})
	})
	return s.do(m)
}

// CreateBridge makes a bridge that is still down, with a fixed hardware address (else it would take its lowest
// port's and change with every container). EEXIST: the name is taken.
func (s *Socket) CreateBridge(name, alias string, mac net.HardwareAddr, mtu int) error {
	m := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL).
		link(unix.AF_UNSPEC, 0, 0, 0).
		str(unix.IFLA_IFNAME, name).
		attr(unix.IFLA_ADDRESS, mac)
	if mtu > 0 {
		m.u32(unix.IFLA_MTU, uint32(mtu))
	}
	m.nest(unix.IFLA_LINKINFO, func() { m.str(unix.IFLA_INFO_KIND, "bridge") })
	if err := s.do(m); err != nil {
		return err
	}
	return s.do(setLink(name).str(unix.IFLA_IFALIAS, alias))
}

func setLink(name string) *message {
	return newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, 0, 0, 0).str(unix.IFLA_IFNAME, name)
}

// SetUp brings the interface up.
func (s *Socket) SetUp(name string) error {
	return s.do(newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP).
		str(unix.IFLA_IFNAME, name))
}

// SetPort makes the interface an enabled port of the bridge with index master.
func (s *Socket) SetPort(name string, master int) error {
	return s.do(newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP).
		str(unix.IFLA_IFNAME, name).u32(unix.IFLA_MASTER, uint32(master)))
}

// Port is what EnablePort gives a bridge port.
type Port struct {
	Alias    string
	Hairpin  bool // frames may leave by the port that they came in by
	Isolated bool // no frame passes between two isolated ports
}

// EnablePort writes a bridge port's alias and flags and brings it up, in one system call. The port gets no IPv6
// link-local address: only its bridge speaks IP, and the address would cost multicast reports and a detection of
// duplicates for every container.
func (s *Socket) EnablePort(name string, port Port) error {
	// A "new link" request without NLM_F_CREATE changes an existing one, and unlike RTM_SETLINK takes port flags.
	m := newMessage(unix.RTM_NEWLINK, 0).link(unix.AF_UNSPEC, 0, 0, 0).
		str(unix.IFLA_IFNAME, name).str(unix.IFLA_IFALIAS, port.Alias)
	if port.Hairpin || port.Isolated {
		m.nest(unix.IFLA_LINKINFO, func() {
			m.str(unix.IFLA_INFO_SLAVE_KIND, "bridge")
			m.nest(unix.IFLA_INFO_SLAVE_DATA, func() {
				m.u8(bridgePortHairpin, flag(port.Hairpin))
				m.u8(bridgePortIsolated, flag(port.Isolated))
			})
		})
	}
	m.nest(unix.IFLA_AF_SPEC, func() {
		m.nest(unix.AF_INET6, func() { m.u8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenModeNone) })
	})
	up := newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP).str(unix.IFLA_IFNAME, name)
	return s.do(m, up)
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// Release takes the interface down and out of its bridge, without waiting for anything.
func (s *Socket) Release(name string) error {
	return s.do(newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, 0, 0, unix.IFF_UP).
		str(unix.IFLA_IFNAME, name).u32(unix.IFLA_MASTER, 0))
}

// Delete removes the interface (with a veth its peer too) and waits until the kernel has: about 15 ms.
func (s *Socket) Delete(name string) error {
	return s.do(newMessage(unix.RTM_DELLINK, 0).link(unix.AF_UNSPEC, 0, 0, 0).str(unix.IFLA_IFNAME, name))
}

// DeleteAll removes many interfaces at the price of one: it puts them into a link group of their own and has the
// kernel delete the group. A name that is gone already is no error.
func (s *Socket) DeleteAll(names []string) error {
	links, err := s.Links()
	if err != nil || len(names) == 0 {
		return err
	}
	used := map[uint32]bool{}
	present := map[string]bool{}
	for _, l := range links {
		used[l.Group], present[l.Name] = true, true
	}
	group := uint32(0x434e5800) // "CNX": far from the small numbers that people use
	for used[group] {
		group++
	}
	marked := 0
	for _, name := range names {
		if present[name] && s.do(setLink(name).u32(unix.IFLA_GROUP, group)) == nil {
			marked++
		}
	}
	if marked == 0 {
		return nil
	}
	return s.do(newMessage(unix.RTM_DELLINK, 0).link(unix.AF_UNSPEC, 0, 0, 0).u32(unix.IFLA_GROUP, group))
}
