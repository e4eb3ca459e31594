// Package network connects containers: bridges, addresses, published ports and firewall rules, all made over
// netlink and all derived from records that its owner keeps, so that they can be put back at any time.
package network

import (
	"net/netip"
)

// Network is one network's definition.
type Network struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Driver     string            `json:"driver"` // bridge | host | none
	Bridge     string            `json:"bridge"` // link name of a bridge network
	Subnets    []Subnet          `json:"subnets,omitempty"`
	Internal   bool              `json:"internal,omitempty"`
	EnableIPv4 bool              `json:"enableIPv4"`
	EnableIPv6 bool              `json:"enableIPv6"`
	MTU        int               `json:"mtu,omitempty"`
	ICC        bool              `json:"icc"` // containers of the network reach each other
	Masquerade bool              `json:"masquerade"`
	HostIP     netip.Addr        `json:"hostIP,omitzero"` // default address of published ports
	Options    map[string]string `json:"options,omitempty"`
}

// Subnet is one address pool of a network.
type Subnet struct {
	Prefix  netip.Prefix          `json:"prefix"`
	Range   netip.Prefix          `json:"range,omitzero"` // --fixed-cidr / --ip-range: where automatic addresses come from
	Gateway netip.Addr            `json:"gateway"`
	Aux     map[string]netip.Addr `json:"aux,omitempty"`
}

// Port is one published port. HostPort 0 asks for a free one out of HostRange (or the ephemeral range).
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
	IPv4      netip.Addr // wanted address, or zero
	MAC       string
	Ports     []Port
	Interface string // name inside, default eth0
}

// Endpoint is one container's connection to one network: what was granted.
type Endpoint struct {
	ID        string       `json:"id"`
	Network   string       `json:"network"`
	Container string       `json:"container"`
	Interface string       `json:"interface"` // inside, "eth0"
	HostLink  string       `json:"hostLink"`  // the veth's host end
	MAC       string       `json:"mac"`
	Address   netip.Prefix `json:"address"`
	Gateway   netip.Addr   `json:"gateway"`
	Ports     []Port       `json:"ports,omitempty"` // HostPort filled in
}

/*
The service:

	New(Config{Instance string, TablePrefix, Pools []Pool, FirewallOff bool, DefaultBridge...}, Log) (*Service, error)
	Restore(ctx, []Network, []Endpoint) error     at daemon start: makes the kernel equal to the records; unknown objects of this instance are swept
	CreateNetwork(ctx, Network) (Network, error)  fills ID, Bridge, Subnets when empty; Conflict on overlap; kernel bridge and nft table
	RemoveNetwork(ctx, id) error                  FailedPrecondition while it has endpoints
	Networks() []Network; Network(idOrName) (Network, error)
	Reserve(ctx, Request) (Endpoint, error)       address and host ports; nothing in the kernel but the held ports
	Attach(ctx, Endpoint, netns *os.File) error   veth born inside netns, address, route, lo up, then the published ports' map elements
	Detach(ctx, Endpoint) error                   ports and address free, link detached; the kernel deletes it with the namespace
	NewNamespace(ctx) (*os.File, error)           a fresh network namespace with lo up, not pinned anywhere
	Endpoints() []Endpoint
	Audit() ([]string, error)                     what the kernel has of this instance's that no record explains, and the other way
	Close() error                                 lets go of held ports; leaves the kernel as it is for running containers
*/
