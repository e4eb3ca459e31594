package audit

import (
	"net/netip"

	"github.com/conex-containers/conex/network"
	"github.com/conex-containers/conex/network/firewall"
)

// lookFirewall compares the instance's nft table with the records. A table that is not there is none of a daemon
// that runs with --iptables=false, or of one that never had a network.
func lookFirewall(t Target, r Records) ([]string, error) {
	table, err := firewall.Open(t.Instance)
	if err != nil {
		return nil, err
	}
	defer func() { _ = table.Close() }()
	if there, err := table.Exists(); err != nil || !there {
		return nil, err
	}
	var networks []firewall.Network
	for _, n := range r.Networks {
		if n.Driver != network.DriverBridge {
			continue
		}
		w := firewall.Network{ID: n.ID, Bridge: n.Bridge, Internal: n.Internal, ICC: n.ICC, Masquerade: n.Masquerade}
		for _, s := range n.Subnets {
			w.Subnets = append(w.Subnets, s.Prefix)
		}
		networks = append(networks, w)
	}
	var ports []firewall.Port
	for _, endpoints := range r.Running {
		for _, e := range endpoints {
			for _, p := range e.Ports {
				ports = append(ports, firewall.Port{Container: e.Container, Proto: p.Proto, HostIP: p.HostIP, HostPort: p.HostPort,
					Target: netip.AddrPortFrom(e.Address.Addr(), p.ContainerPort)})
			}
		}
	}
	return table.Differences(networks, ports)
}
