// Package network connects containers: bridges, addresses, published ports and firewall rules, all made over
// netlink and all derived from records that its owner keeps, so that they can be put back at any time.
package network

import (
	"net/netip"

	"github.com/conex-containers/conex/network/ipam"
)

// Pool is a block of addresses that automatic subnets are cut from (--default-address-pool).
type Pool = ipam.Pool

// Config is what one daemon's Service is made from. The zero value but for Instance is a good one.
type Config struct {
	// Instance tells this daemon's kernel objects from other daemons': "conex" for the default daemon, at most
	// eight characters of [a-z0-9] ("cx1a2b3c"). The names of bridges, links and the nftables table derive from it.
	Instance      string
	Table         string        // nftables table; default: Instance
	Pools         []Pool        // where automatic subnets come from; default: ipam.DefaultPools
	FirewallOff   bool          // --iptables=false: no table at all, routing only; published ports are held but lead nowhere
	HostPolicy    bool          // --firewall-policy=host: the host's own rules decide what enters the networks from outside
	ForwardOff    bool          // --ip-forward=false: leave net.ipv4.ip_forward as it is
	HostIP        netip.Addr    // --ip: default address of published ports; zero: every address
	DefaultBridge DefaultBridge // the network named "bridge"
}

// DefaultBridge configures the network named "bridge" as dockerd's flags do.
type DefaultBridge struct {
	Off           bool         // --bridge=none: no default network
	Name          string       // --bridge: an existing bridge, used but never made or removed; default: Instance + "0"
	Address       netip.Prefix // --bip: the gateway's address with the subnet's length
	Range         netip.Prefix // --fixed-cidr: where automatic addresses come from
	Gateway       netip.Addr   // --default-gateway: when it is not the bridge's own address
	MTU           int          // --mtu
	ICCOff        bool         // --icc=false
	MasqueradeOff bool         // --ip-masq=false
	IPv6          bool         // --ipv6
	Address6      netip.Prefix // --bip6
	Range6        netip.Prefix // --fixed-cidr-v6: the IPv6 subnet, or with Address6 the part that addresses come from
	Gateway6      netip.Addr   // --default-gateway-v6
}

// GatewayMode is how a bridge network's containers meet the outside by one family; "" is ModeNAT.
type GatewayMode string

// The modes, as Docker's com.docker.network.bridge.gateway_mode_ipv4 and _ipv6 name them.
const (
	ModeNAT         GatewayMode = "nat"             // published ports are translated, what goes out is masqueraded
	ModeUnprotected GatewayMode = "nat-unprotected" // as nat, and whoever has a route reaches every port
	ModeRouted      GatewayMode = "routed"          // nothing is translated: published ports are open for whoever has a route
	ModeIsolated    GatewayMode = "isolated"        // the bridge has no address; for internal networks
)

// Network is one network's definition.
type Network struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Driver     string            `json:"driver"` // bridge | macvlan | ipvlan | host | none
	Bridge     string            `json:"bridge"` // link name of a bridge network
	Subnets    []Subnet          `json:"subnets,omitempty"`
	Internal   bool              `json:"internal,omitempty"`
	EnableIPv4 bool              `json:"enableIPv4"`
	EnableIPv6 bool              `json:"enableIPv6"`
	MTU        int               `json:"mtu,omitempty"`
	ICC        bool              `json:"icc"` // containers of the network reach each other
	Masquerade bool              `json:"masquerade"`
	HostIP     netip.Addr        `json:"hostIP,omitzero"`    // default address of published ports
	External   bool              `json:"external,omitempty"` // the bridge is its owner's: neither made nor removed here
	Mode4      GatewayMode       `json:"mode4,omitempty"`
	Mode6      GatewayMode       `json:"mode6,omitempty"`
	Interfaces string            `json:"interfaces,omitempty"` // prefix of containers' interface names, default "eth"
	Spoofing   bool              `json:"spoofing,omitempty"`   // containers may send from addresses that are not theirs
	Parent     string            `json:"parent,omitempty"`     // of macvlan and ipvlan: the host's interface
	Mode       string            `json:"mode,omitempty"`       // of macvlan and ipvlan
	Flag       string            `json:"flag,omitempty"`       // of ipvlan
	Options    map[string]string `json:"options,omitempty"`
}

// subnet returns the network's one of a family, nil when it has none.
func (n *Network) subnet(six bool) *Subnet {
	for i := range n.Subnets {
		if n.Subnets[i].Prefix.Addr().Is6() == six {
			return &n.Subnets[i]
		}
	}
	return nil
}

// mode is how the network meets the outside by the family of an address.
func (n *Network) mode(a netip.Addr) GatewayMode {
	mode := n.Mode4
	if a.Is6() {
		mode = n.Mode6
	}
	if mode == "" {
		return ModeNAT
	}
	return mode
}

// Subnet is one address pool of a network.
type Subnet struct {
	Prefix  netip.Prefix          `json:"prefix"`
	Range   netip.Prefix          `json:"range,omitzero"` // --fixed-cidr / --ip-range: where automatic addresses come from
	Gateway netip.Addr            `json:"gateway"`
	Aux     map[string]netip.Addr `json:"aux,omitempty"`
}

// Port is one published port. HostPort 0 asks for a free one out of HostRange (or the ephemeral range); in what was granted it
// stands for none: the port is open on the container's own address (ModeRouted).
type Port struct {
	Proto         string     `json:"proto"` // tcp | udp
	ContainerPort uint16     `json:"containerPort"`
	HostIP        netip.Addr `json:"hostIP,omitzero"` // unspecified: every address
	HostPort      uint16     `json:"hostPort"`
	HostPortEnd   uint16     `json:"hostPortEnd,omitempty"` // with HostPort: the first free port of this range
}

// Request asks for an endpoint.
type Request struct {
	Network   string     // ID
	Container string     // full id: becomes link alias and nft comment
	Name      string     // the container's name, for messages only
	Names     []string   // by which others of the network find it; none on a network without name service
	Links     []string   // "name:alias": what it alone calls others
	IPv4      netip.Addr // wanted address, or zero
	IPv6      netip.Addr // the same
	LinkLocal []netip.Addr
	MAC       string
	Ports     []Port
	Publish   Families // by which families the ports are published; none: all that the network has
	Interface string   // name inside, default eth0
	First     bool     // its gateway is to go before those of the networks that are connected already
	Sysctls   []string // of the interface: net.ipv4.conf.IFNAME.log_martians=1
}

// Families is a choice among IPv4 and IPv6.
type Families struct{ Four, Six bool }

func (f Families) has(a netip.Addr) bool {
	return f == Families{} || a.Is4() && f.Four || a.Is6() && f.Six
}

// Endpoint is one container's connection to one network: what was granted.
type Endpoint struct {
	ID        string       `json:"id"`
	Network   string       `json:"network"`
	Container string       `json:"container"`
	Name      string       `json:"name,omitempty"` // the container's name, for messages only
	Names     []string     `json:"names,omitempty"`
	Links     []string     `json:"links,omitempty"`
	Interface string       `json:"interface"` // inside, "eth0"
	HostLink  string       `json:"hostLink"`  // the veth's host end; "" of macvlan and ipvlan
	MAC       string       `json:"mac"`
	Address   netip.Prefix `json:"address"`
	Gateway   netip.Addr   `json:"gateway"`
	Address6  netip.Prefix `json:"address6,omitzero"`
	Gateway6  netip.Addr   `json:"gateway6,omitzero"`
	LinkLocal []netip.Addr `json:"linkLocal,omitempty"`
	First     bool         `json:"first,omitempty"`
	Sysctls   []string     `json:"sysctls,omitempty"`
	Ports     []Port       `json:"ports,omitempty"` // HostPort filled in
}

// addresses are the endpoint's, IPv4's first.
func (e *Endpoint) addresses() []netip.Prefix {
	all := make([]netip.Prefix, 0, 2)
	for _, p := range []netip.Prefix{e.Address, e.Address6} {
		if p.IsValid() {
			all = append(all, p)
		}
	}
	return all
}

// target is where a port published on the host's address leads.
func (e *Endpoint) target(host netip.Addr) netip.Addr {
	if host.Is6() {
		return e.Address6.Addr()
	}
	return e.Address.Addr()
}
