package firewall

import (
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/linux/nft"
)

// Binding is one address that a container's link may send from.
type Binding struct {
	Container string // id: the element's comment
	Link      string // the host end
	MAC       net.HardwareAddr
	Address   netip.Addr // zero: it may send whatever it likes
}

// Names of the guard's sets.
const (
	setBound   = "bound"   // link . hardware address . IPv4 address
	setBound6  = "bound6"  // the same of IPv6
	setTrusted = "trusted" // links that are not guarded
)

// newGuard describes the table of family bridge that lets a container's link send only from its own addresses:
//
//	frame from a container's link ─┬─ IPv4, ARP, IPv6: link, hardware and IP address together are bound ──▶ on
//	                               │    (ARP: what it says of itself; neighbour advertisement: its target)
//	                               └─ anything else, and what only a router or a DHCP server says ──▶ dropped
//
// What it hears is filtered at the sender's link, so that it costs one lookup however many containers there are.
func newGuard(conn *nft.Conn, name, links string) part {
	g := part{conn: conn, table: &nftables.Table{Name: name, Family: nftables.TableFamilyBridge}}
	g.sets = map[string]*nftables.Set{
		setBound:   {KeyType: nft.BoundKey},
		setBound6:  {KeyType: nft.BoundKey6},
		setTrusted: {KeyType: nftables.TypeIFName},
	}
	g.base = func() []chain { return guardChains(links) }
	g.name()
	return g
}

// Messages of ICMPv6 (RFC 4861 section 4, RFC 3810 section 5.2).
const (
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137
	listenerReport         = 143
)

func guardChains(links string) []chain {
	dhcp := func(server, client uint16) nft.Match { return nft.Ports(unix.IPPROTO_UDP, server, client) }
	return []chain{
		{name: "four", rules: []rule{
			newRule("DHCP servers' answers", dhcp(67, 68), nft.Drop()),
			newRule("own address", nft.Accept()),
		}},
		{name: "six", rules: []rule{
			newRule("router advertisement", nft.ICMPv6(routerAdvertisement), nft.Drop()),
			newRule("redirect", nft.ICMPv6(redirect), nft.Drop()),
			newRule("DHCP servers' answers", dhcp(547, 546), nft.Drop()),
			newRule("advertises itself", nft.ICMPv6(neighbourAdvertisement), nft.Bound(setBound6, nft.AdvertisedTarget), nft.Accept()),
			newRule("advertises another", nft.ICMPv6(neighbourAdvertisement), nft.Drop()),
			newRule("own address", nft.Accept()),
		}},
		{name: "guard", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw, rules: []rule{
			newRule("no container's link", nft.NotInterfacesIn(links), nft.Accept()),
			newRule("own IPv4 address", nft.EtherType(unix.ETH_P_IP), nft.Bound(setBound, nft.SourceAddress4), nft.Jump("four")),
			newRule("own IPv6 address", nft.EtherType(unix.ETH_P_IPV6), nft.Bound(setBound6, nft.SourceAddress6), nft.Jump("six")),
			newRule("ARP of itself", nft.EtherType(unix.ETH_P_ARP), nft.Bound(setBound, nft.ARPSender), nft.Bound(setBound, nft.ARPSource), nft.Accept()),
			newRule("no address yet", nft.NoSource6(), nft.ICMPv6(neighbourSolicitation), nft.Accept()),
			newRule("no address yet", nft.NoSource6(), nft.ICMPv6(listenerReport), nft.Accept()),
			newRule("not guarded", nft.InterfaceInSet(setTrusted), nft.Accept()),
			newRule("everything else", nft.Drop()),
		}},
	}
}

// element tells the binding's set and its element there.
func (b Binding) element() (string, nftables.SetElement) {
	e := nftables.SetElement{Comment: b.Container}
	if !b.Address.IsValid() {
		e.Key = nft.InterfaceKey(b.Link)
		return setTrusted, e
	}
	e.Key = nft.BoundTo(b.Link, b.MAC, b.Address)
	if b.Address.Is6() {
		return setBound6, e
	}
	return setBound, e
}

func boundElements(bindings []Binding) elements {
	all := elements{}
	for _, b := range bindings {
		set, e := b.element()
		all[set] = append(all[set], e)
	}
	return all
}

// bind adds bindings without what a library costs.
func (t *Table) bind(bindings []Binding) error {
	if len(bindings) == 0 {
		return nil
	}
	all := make([]netlink.Element, len(bindings))
	for i, b := range bindings {
		set, e := b.element()
		all[i] = netlink.Element{Set: set, Key: e.Key, Tag: userdata.AppendString(nil, userdata.NFTNL_UDATA_SET_ELEM_COMMENT, e.Comment)}
	}
	return t.quick.AddElements(unix.NFPROTO_BRIDGE, t.table.Name, all)
}
