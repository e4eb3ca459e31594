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
)

// Network is what the table knows of one network.
type Network struct {
	ID         string
	Bridge     string
	Subnets    []netip.Prefix
	Internal   bool
	ICC        bool
	Masquerade bool
}

// Names of the table's maps and shared chains.
const (
	mapPorts     = "ports"           // protocol . port -> container address . port: published on every address
	mapAddresses = "addressed_ports" // address . protocol . port -> the same, published on one address
	mapForward   = "forward_to"      // bridge -> jump: what may enter the network
	mapInternal  = "internal_from"   // bridge -> jump: internal networks, what may leave them
	mapNAT       = "nat_of"          // bridge -> jump: source translation
	chainPublish = "published"
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

var loopback = netip.MustParsePrefix("127.0.0.0/8")

// rules builds a rule whose comment ends in a digest of its expressions, by which a changed one is told.
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
	return []chain{
		{name: chainPublish, rules: []rule{
			newRule("published on one address", nft.TranslateByAddress(mapAddresses)),
			newRule("published on every address", nft.TranslateByPort(mapPorts)),
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
		{name: "output", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookOutput,
			priority: nftables.ChainPriorityNATDest, rules: []rule{
				newRule("published ports", nft.ToHost(), nft.Jump(chainPublish)),
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
	if !n.Internal {
		forward.rules = append(forward.rules, newRule(text("published"), nft.Published(), nft.Accept()))
	}
	forward.rules = append(forward.rules, newRule(text("nothing else"), nft.Drop()))

	nat := chain{name: "nat_" + n.Bridge}
	for _, s := range n.Subnets {
		nat.rules = append(nat.rules, newRule(text("hairpin"),
			nft.InterfaceOut(n.Bridge), nft.Source(s), nft.Published(), nft.Masquerade()))
	}
	nat.rules = append(nat.rules, newRule(text("from loopback"),
		nft.InterfaceOut(n.Bridge), nft.Source(loopback), nft.Published(), nft.Masquerade()))
	if n.Masquerade && !n.Internal {
		for _, s := range n.Subnets {
			nat.rules = append(nat.rules, newRule(text("to outside"),
				nft.NotInterfaceOut(n.Bridge), nft.Source(s), nft.Masquerade()))
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

// dispatches are the network's elements of the verdict maps.
func (n Network) dispatches() []dispatch {
	all := []dispatch{
		{mapForward, n.Bridge, "forward_" + n.Bridge},
		{mapNAT, n.Bridge, "nat_" + n.Bridge},
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
