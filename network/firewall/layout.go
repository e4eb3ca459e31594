// Package firewall keeps one nftables table per daemon: published ports as map elements, masquerading, and the
// isolation of the networks.
//
// The picture, with one network on bridge conex0 (a packet's way from top to bottom):
//
//	prerouting raw     packets to 127.0.0.0/8 from any interface but lo are dropped: route_localnet is on for the
//	                   bridges, and a loopback-published port is for this host alone
//	prerouting dstnat  to one of the host's addresses -> published: map lookup, destination rewritten
//	output dstnat      the same for the host's own processes, 127.0.0.1 included
//	forward filter     established -> accept; from an internal network -> only within it; to a bridge -> its chain:
//	                   from the same bridge (unless ICC is off) or published -> accept, everything else dropped, so
//	                   that other networks and direct routing from outside reach published ports only
//	postrouting srcnat to a bridge: published traffic from its own subnet (hairpin) or from 127.0.0.1 gets the
//	                   bridge's address; from a bridge to anywhere else: masqueraded
//
// An accept here ends only this table's say: rules of other tables (ufw, firewalld, Docker) still judge the packet.
// All lookups are hashed: neither networks nor ports make a packet's way longer.
package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/nft"
	"github.com/conex-containers/conex/network/bridge"
)

// Network is what the table knows of one network.
type Network struct {
	ID       string
	Bridge   string
	Subnets  []Subnet
	Internal bool
	ICC      bool
	Host     bool // who else enters is up to the host's own rules; other networks still do not
}

// Subnet is one of a network's, and how its containers meet the outside.
type Subnet struct {
	Prefix      netip.Prefix
	Masquerade  bool // behind the host's address
	Open        bool // nothing is translated: published ports may be asked for at the container's own address
	Unprotected bool // so may every other
}

// Names of the table's maps and shared chains.
const (
	mapPorts     = "ports"            // protocol . port -> container address . port: published on every address
	mapAddresses = "addressed_ports"  // address . protocol . port -> the same, published on one address
	mapPorts6    = "ports6"           // as ports, of IPv6
	mapAddress6  = "addressed_ports6" // as addressed_ports, of IPv6
	setOpen      = "open_ports"       // container address . protocol . port: open by direct routing
	setOpen6     = "open_ports6"      // the same of IPv6
	mapForward   = "forward_to"       // bridge -> jump: what may enter the network
	mapInternal  = "internal_from"    // bridge -> jump: internal networks, what may leave them
	mapFrom      = "from_network"     // bridge -> jump: what comes from another network
	mapNAT       = "nat_of"           // bridge -> jump: source translation
	chainPublish = "published"
	chainForeign = "foreign"
)

type rule struct {
	comment string
	exprs   []expr.Any
}

type chain struct {
	name     string
	kind     nftables.ChainType // "" for a chain that is only jumped to
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    []rule
}

// dispatch is one element of a verdict map.
type dispatch struct{ set, bridge, chain string }

var (
	loopback  = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

// loopbacks are the families' addresses of the host for itself.
func loopbackOf(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() {
		return loopback6
	}
	return loopback
}

// newRule builds a rule whose comment ends in a digest of its expressions, by which a changed one is told.
func newRule(text string, matches ...nft.Match) rule {
	exprs := nft.Rule(matches...)
	h := sha256.New()
	for _, e := range exprs {
		b, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
		if err != nil {
			b = []byte(err.Error()) // the transaction that uses the expression reports it
		}
		h.Write(b)
	}
	return rule{comment: fmt.Sprintf("%s #%s", text, hex.EncodeToString(h.Sum(nil)[:4])), exprs: exprs}
}

// baseChains are there once per table.
func baseChains() []chain {
	output := chain{name: "output", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookOutput, priority: nftables.ChainPriorityNATDest}
	if bridge.FiltersBridged6() {
		output.rules = append(output.rules, newRule("answers to ::1 would not come back", nft.Destination(loopback6), nft.Accept()))
	}
	output.rules = append(output.rules, newRule("published ports", nft.ToHost(), nft.Jump(chainPublish)))
	return []chain{
		{name: chainPublish, rules: []rule{
			newRule("published on one address", nft.TranslateByAddress(nft.Four, mapAddresses)),
			newRule("published on every address", nft.TranslateByPort(nft.Four, mapPorts)),
			newRule("published on one address", nft.TranslateByAddress(nft.Six, mapAddress6)),
			newRule("published on every address", nft.TranslateByPort(nft.Six, mapPorts6)),
		}},
		{name: "loopback_guard", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting,
			priority: nftables.ChainPriorityRaw, rules: []rule{
				newRule("loopback is for this host alone",
					nft.NotInterfaceIn("lo"), nft.Destination(loopback), nft.Drop()),
			}},
		{name: "prerouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPrerouting,
			priority: nftables.ChainPriorityNATDest, rules: []rule{
				newRule("published ports", nft.ToHost(), nft.Jump(chainPublish)),
			}},
		output,
		{name: chainForeign, rules: []rule{
			newRule("published", nft.Published(), nft.Accept()),
			newRule("nothing else", nft.Drop()),
		}},
		{name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward,
			priority: nftables.ChainPriorityFilter, rules: []rule{
				newRule("established", nft.State(nft.StateEstablished|nft.StateRelated), nft.Accept()),
				newRule("internal networks", nft.DispatchIn(mapInternal)),
				newRule("into a network", nft.DispatchOut(mapForward)),
			}},
		{name: "postrouting", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting,
			priority: nftables.ChainPriorityNATSource, rules: []rule{
				newRule("into a network", nft.DispatchOut(mapNAT)),
				newRule("out of a network", nft.DispatchIn(mapNAT)),
			}},
	}
}

func (n Network) short() string { return n.ID[:min(12, len(n.ID))] }

// chains are the network's own.
func (n Network) chains() []chain {
	forward := chain{name: "forward_" + n.Bridge}
	text := func(s string) string { return "network " + n.short() + ": " + s }
	within := nft.InterfaceIn(n.Bridge)
	if n.ICC {
		forward.rules = append(forward.rules, newRule(text("within"), within, nft.Accept()))
	}
	if !n.Internal && !n.Host {
		forward.rules = append(forward.rules, newRule(text("published"), nft.Published(), nft.Accept()))
		forward.rules = append(forward.rules, n.direct(text)...)
	}
	if n.Host && !n.Internal {
		forward.rules = append(forward.rules, newRule(text("other networks"), nft.DispatchIn(mapFrom)))
	} else {
		forward.rules = append(forward.rules, newRule(text("nothing else"), nft.Drop()))
	}

	nat := chain{name: "nat_" + n.Bridge}
	for _, s := range n.Subnets {
		nat.rules = append(nat.rules,
			newRule(text("hairpin"), nft.InterfaceOut(n.Bridge), nft.Source(s.Prefix), nft.Published(), nft.Masquerade()),
			newRule(text("from loopback"), nft.InterfaceOut(n.Bridge), nft.Source(loopbackOf(s.Prefix)), nft.Published(), nft.Masquerade()))
		if s.Masquerade && !n.Internal {
			nat.rules = append(nat.rules, newRule(text("to outside"), nft.NotInterfaceOut(n.Bridge), nft.Source(s.Prefix), nft.Masquerade()))
		}
	}
	all := []chain{forward, nat}
	if n.Internal {
		all = append(all, chain{name: "internal_" + n.Bridge, rules: []rule{
			newRule(text("stays within"), nft.NotInterfaceOut(n.Bridge), nft.Drop()),
		}})
	}
	return all
}

// direct are the rules for those who have a route to the containers' own addresses.
func (n Network) direct(text func(string) string) []rule {
	var all []rule
	for _, s := range n.Subnets {
		family, set := nft.FamilyOf(s.Prefix.Addr()), setOpen
		if family == nft.Six {
			set = setOpen6
		}
		switch {
		case s.Open:
			all = append(all,
				newRule(text("open ports"), nft.Destination(s.Prefix), nft.DestinationIn(family, set), nft.Accept()),
				newRule(text("ping"), nft.Destination(s.Prefix), nft.ICMP(family), nft.Accept()))
		case s.Unprotected:
			all = append(all, newRule(text("unprotected"), nft.Destination(s.Prefix), nft.Accept()))
		}
	}
	return all
}

// dispatches are the network's elements of the verdict maps.
func (n Network) dispatches() []dispatch {
	all := []dispatch{
		{mapForward, n.Bridge, "forward_" + n.Bridge},
		{mapNAT, n.Bridge, "nat_" + n.Bridge},
		{mapFrom, n.Bridge, chainForeign},
	}
	if n.Internal {
		all = append(all, dispatch{mapInternal, n.Bridge, "internal_" + n.Bridge})
	}
	return all
}

// protoNumber is the protocol's number in an IP header.
func protoNumber(proto string) uint8 {
	if proto == "udp" {
		return unix.IPPROTO_UDP
	}
	return unix.IPPROTO_TCP
}
