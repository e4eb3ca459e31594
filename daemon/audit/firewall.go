package audit

import (
	"github.com/conex-containers/conex/network"
	"github.com/conex-containers/conex/network/firewall"
)

// lookFirewall compares the instance's nft table with the records. A table that is not there is none of a daemon
// that runs with --iptables=false, or of one that never had a network.
func lookFirewall(t Target, r Records) ([]string, error) {
	table, err := firewall.Open(t.Instance, network.LinkPrefix(t.Instance))
	if err != nil {
		return nil, err
	}
	defer func() { _ = table.Close() }()
	if there, err := table.Exists(); err != nil || !there {
		return nil, err
	}
	var state firewall.State
	byID := map[string]network.Network{}
	for _, n := range r.Networks {
		byID[n.ID] = n
		if n.Driver == network.DriverBridge {
			state.Networks = append(state.Networks, n.Wall(t.HostPolicy))
		}
	}
	for _, endpoints := range r.Running {
		for _, e := range endpoints {
			state.Ports = append(state.Ports, e.WallPorts()...)
			state.Bindings = append(state.Bindings, e.Bindings(byID[e.Network])...)
		}
	}
	return table.Differences(state)
}
