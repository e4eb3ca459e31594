package network_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/network"
)

// onLAN is a macvlan network on the neighbour's wire.
func (m *machine) onLAN(name, mode, subnet string) (network.Network, error) {
	p := netip.MustParsePrefix(subnet)
	return m.CreateNetwork(context.Background(), network.Network{Name: name, Driver: network.DriverMacvlan, Parent: "lan0", Mode: mode,
		EnableIPv4: true, Subnets: []network.Subnet{{Prefix: p, Gateway: netip.MustParseAddr("192.0.2.9"), Range: netip.PrefixFrom(p.Addr().Next(), 26)}}})
}

// Containers of a macvlan network are the neighbour's neighbours, under addresses of their own; how far they reach each other
// is the mode's.
func TestMacvlan(t *testing.T) {
	for _, c := range []struct {
		mode  string
		among bool
	}{{"", true}, {"bridge", true}, {"private", false}, {"vepa", false}} {
		t.Run("mode "+c.mode, func(t *testing.T) {
			m := newMachine(t)
			lan, _ := m.neighbour6()
			lan.serve(80, "lan")
			n, err := m.onLAN("beside", c.mode, "192.0.2.0/24")
			must(t, err)
			a, b := m.run(n, port("tcp", "", 8080, 80)), m.run(n)
			a.serve(80, "a")
			if len(a.Ports) != 0 || a.HostLink != "" {
				t.Errorf("endpoint %+v", a.Endpoint)
			}
			if from := a.reaches("tcp", "192.0.2.9:80", "lan"); from != a.Address.Addr().String() {
				t.Errorf("the neighbour saw %s, want the container's own address", from)
			}
			lan.reaches("tcp", a.at(80), "a")
			if c.among {
				b.reaches("tcp", a.at(80), "a")
			} else {
				b.cannotReach("tcp", a.at(80))
			}
			if out := a.output("ip", "-d", "link", "show", "eth0"); !strings.Contains(out, a.MAC) || c.mode != "" && !strings.Contains(out, "mode "+c.mode) {
				t.Errorf("%s", out)
			}
			m.restart(nil)
			lan.reaches("tcp", a.at(80), "a")
			must(t, m.Disconnect(context.Background(), b.Endpoint, b.ns))
			if out := b.output("ip", "-o", "link"); strings.Contains(out, "eth0") {
				t.Errorf("the disconnected interface is still there: %s", out)
			}
			m.end(a)
			m.clean()
			must(t, m.RemoveNetwork(context.Background(), n.ID))
			command(t, "ip", "link", "show", "lan0") // the parent stays: it is not ours
		})
	}
}

func TestMacvlanDefinitions(t *testing.T) {
	m := newMachine(t)
	m.neighbour()
	ctx := context.Background()
	through, err := m.onLAN("through", "passthru", "192.0.2.0/24")
	must(t, err)
	only := m.run(through)
	second, err := m.tryRun(network.Request{Network: through.ID, Container: string(ids.New())})
	if err == nil {
		t.Error("two containers on a network of mode passthru")
	}
	must(t, m.Detach(ctx, second.Endpoint))
	_, err = m.onLAN("second", "bridge", "198.51.100.0/24")
	wantError(t, err, errdefs.ErrConflict, "lan0", "through")
	m.end(only)
	must(t, m.RemoveNetwork(ctx, "through"))
	bad := func(change func(*network.Network), class error, words ...string) {
		t.Helper()
		n := network.Network{Name: "bad", Driver: network.DriverMacvlan, Parent: "lan0", EnableIPv4: true}
		change(&n)
		_, err := m.CreateNetwork(ctx, n)
		wantError(t, err, class, words...)
	}
	bad(func(n *network.Network) { n.Parent = "" }, errdefs.ErrInvalidArgument, "-o parent=")
	bad(func(n *network.Network) { n.Parent = "nowhere0" }, errdefs.ErrInvalidArgument, "nowhere0", "ip link")
	bad(func(n *network.Network) { n.Parent = "lan0.5000" }, errdefs.ErrInvalidArgument, "VLAN id")
	bad(func(n *network.Network) { n.Parent = "../x" }, errdefs.ErrInvalidArgument, "interface name")
	bad(func(n *network.Network) { n.Mode = "sideways" }, errdefs.ErrInvalidArgument, "bridge, private, vepa or passthru")
	if !kernelHas(m, network.DriverIPvlan) {
		bad(func(n *network.Network) { n.Driver = network.DriverIPvlan }, errdefs.ErrFailedPrecondition, "no ipvlan", "modprobe ipvlan")
	}
	m.clean()
}

// kernelHas tells whether the kernel makes interfaces of a kind: ipvlan is a module that many have, and this machine has not.
func kernelHas(m *machine, driver string) bool {
	n, err := m.CreateNetwork(context.Background(), network.Network{Name: "probe", Driver: driver, Parent: "lan0", EnableIPv4: true})
	if err == nil {
		must(m, m.RemoveNetwork(context.Background(), n.ID))
	}
	return err == nil
}

// ipvlan, where the kernel has it.
func TestIPvlan(t *testing.T) {
	m := newMachine(t)
	lan, _ := m.neighbour()
	if !kernelHas(m, network.DriverIPvlan) {
		t.Skip("this kernel has no ipvlan (CONFIG_IPVLAN): what refuses it is tested in TestMacvlanDefinitions")
	}
	lan.serve(80, "lan")
	for _, mode := range []string{"l2", "l3"} {
		n, err := m.CreateNetwork(context.Background(), network.Network{Name: mode, Driver: network.DriverIPvlan, Parent: "lan0", Mode: mode,
			EnableIPv4: true, Subnets: []network.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.9")}}})
		must(t, err)
		a := m.run(n)
		a.reaches("tcp", "192.0.2.9:80", "lan")
		m.end(a)
		must(t, m.RemoveNetwork(context.Background(), n.ID))
	}
}
