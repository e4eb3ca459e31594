package audit

import (
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
		networks = append(networks, n.Wall())
	}
	var ports []firewall.Port
	for _, endpoints := range r.Running {
		for _, e := range endpoints {
			ports = append(ports, e.WallPorts()...)
		}
	}
	return table.Differences(networks, ports)
}
