package network_test

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/network"
)

// dual makes a network of both families; change what is to be different.
func (m *machine) dual(name string, change ...func(*network.Network)) network.Network {
	m.Helper()
	n := network.Network{Name: name, EnableIPv4: true, EnableIPv6: true, ICC: true, Masquerade: true}
	for _, c := range change {
		c(&n)
	}
	n, err := m.CreateNetwork(context.Background(), n)
	must(m, err)
	return n
}

// The other machine's addresses by IPv6, and the host's on that network.
const (
	lanAddress6  = "2001:db8:9::9"
	hostAddress6 = "2001:db8:9::1"
)

// neighbour6 is neighbour with IPv6 on top.
func (m *machine) neighbour6() (*box, netip.Addr) {
	m.Helper()
	lan, address := m.neighbour()
	command(m, "ip", "-6", "addr", "add", hostAddress6+"/64", "dev", "lan0", "nodad")
	lan.command("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
	lan.command("ip", "-6", "addr", "add", lanAddress6+"/64", "dev", "eth0", "nodad")
	lan.command("ip", "-6", "route", "add", "default", "via", hostAddress6)
	return lan, address
}

// withBridgeFilter6 is withBridgeFilter for IPv6.
func withBridgeFilter6(t *testing.T, test func(t *testing.T, bridgeFilter bool)) {
	const path = "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf="+value, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				t.Skip(err)
			}
			test(t, value == "1")
		})
	}
}

func TestIPv6PublishedPort(t *testing.T) {
	withBridgeFilter6(t, func(t *testing.T, bridgeFilter bool) {
		m := newMachine(t)
		lan, hostAddress := m.neighbour6()
		lan.serve(80, "lan")
		host := m.host()
		both := m.dual("both")
		if p := both.Subnets[1].Prefix; !netip.MustParsePrefix("fd00::/8").Contains(p.Addr()) || p.Bits() != 64 {
			t.Errorf("subnet %s is no unique local /64", p)
		}
		web := m.run(both, port("tcp", "", 8080, 80), port("udp", "", 8080, 80))
		web.serve(80, "web")
		if n := len(web.Ports); n != 4 {
			t.Errorf("%d ports granted, want two for each family: %v", n, web.Ports)
		}
		friend := m.run(both)
		stranger := m.run(m.dual("other"))
		for _, proto := range []string{"tcp", "udp"} {
			if from := friend.reaches(proto, web.at6(80), "web"); from != friend.Address6.Addr().String() {
				t.Errorf("%s: web saw %s, want its friend's own address %s", proto, from, friend.Address6.Addr())
			}
			if from := friend.reaches(proto, "["+lanAddress6+"]:80", "lan"); from != hostAddress6 {
				t.Errorf("%s: the neighbour saw %s, want the host's address", proto, from)
			}
			host.reaches(proto, "127.0.0.1:8080", "web")
			host.reaches(proto, at(hostAddress, 8080), "web")
			host.reaches(proto, "["+hostAddress6+"]:8080", "web")
			if !bridgeFilter {
				host.reaches(proto, "[::1]:8080", "web")
			} else if proto == "tcp" { // refused, not lost: clients go on to 127.0.0.1 at once
				if _, err := host.ask("tcp", "[::1]:8080", refusal); err == nil || !strings.Contains(err.Error(), "refused") {
					t.Errorf("[::1] with br_netfilter: %v", err)
				}
			}
			if from := lan.reaches(proto, "["+hostAddress6+"]:8080", "web"); from != lanAddress6 {
				t.Errorf("%s: web saw %s, want the neighbour's own address", proto, from)
			}
			friend.reaches(proto, "["+hostAddress6+"]:8080", "web")
			stranger.reaches(proto, "["+hostAddress6+"]:8080", "web")
			web.reaches(proto, "["+hostAddress6+"]:8080", "web") // hairpin
			stranger.cannotReach(proto, web.at6(80))
			stranger.cannotReach(proto, web.at6(8080))
		}
		lan.command("ip", "-6", "route", "replace", both.Subnets[1].Prefix.String(), "via", hostAddress6)
		lan.cannotReach("tcp", web.at6(80)) // by direct route
		m.clean()
		m.end(web)
		lan.cannotReach("udp", "["+hostAddress6+"]:8080")
		m.end(friend)
		m.end(stranger)
		m.clean()
	})
}

// A port published on ::1 is for the host alone, one on an address for that address.
func TestIPv6PublishedOnOneAddress(t *testing.T) {
	_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables", []byte("0"), 0)
	m := newMachine(t)
	lan, _ := m.neighbour6()
	host := m.host()
	web := m.run(m.dual("both"), port("tcp", "::1", 8081, 80), port("tcp", hostAddress6, 8082, 80), port("tcp", "127.0.0.1", 8083, 80))
	web.serve(80, "web")
	host.reaches("tcp", "[::1]:8081", "web")
	host.cannotReach("tcp", "127.0.0.1:8081")
	lan.cannotReach("tcp", "["+hostAddress6+"]:8081")
	host.reaches("tcp", "["+hostAddress6+"]:8082", "web")
	lan.reaches("tcp", "["+hostAddress6+"]:8082", "web")
	host.cannotReach("tcp", "[::1]:8082")
	host.reaches("tcp", "127.0.0.1:8083", "web")
	host.cannotReach("tcp", "[::1]:8083")
	// The neighbour's trick, as with 127.0.0.1: it sends packets to ::1 to us.
	lan.command("ip", "-6", "route", "del", "local", "::1", "table", "local")
	lan.command("ip", "-6", "addr", "del", "::1/128", "dev", "lo")
	lan.command("ip", "-6", "route", "add", "::1/128", "via", hostAddress6)
	lan.cannotReach("tcp", "[::1]:8081")
	m.end(web)
	m.clean()
}

func TestIPv6Alone(t *testing.T) {
	m := newMachine(t)
	lan, _ := m.neighbour6()
	lan.serve(80, "lan")
	six := m.dual("six", func(n *network.Network) { n.EnableIPv4 = false })
	if len(six.Subnets) != 1 {
		t.Fatalf("subnets: %v", six.Subnets)
	}
	web := m.run(six, port("tcp", "", 8080, 80))
	web.serve(80, "web")
	if web.Address.IsValid() || len(web.Ports) != 1 {
		t.Errorf("endpoint %+v", web.Endpoint)
	}
	friend := m.run(six)
	friend.reaches("tcp", web.at6(80), "web")
	friend.reaches("tcp", "["+lanAddress6+"]:80", "lan")
	lan.reaches("tcp", "["+hostAddress6+"]:8080", "web")
	m.host().cannotReach("tcp", "127.0.0.1:8080")
	_, err := m.tryRun(network.Request{Network: six.ID, Container: string(ids.New()), IPv4: netip.MustParseAddr("10.9.9.9")})
	wantError(t, err, errdefs.ErrInvalidArgument, "family")
	_, err = m.tryRun(network.Request{Network: six.ID, Container: string(ids.New()), Ports: []network.Port{port("tcp", "127.0.0.1", 1, 1)}})
	wantError(t, err, errdefs.ErrInvalidArgument, "family")
	m.restart(nil)
	friend.reaches("tcp", web.at6(80), "web")
	m.end(web)
	m.end(friend)
	m.clean()
}

// A routed network is reached at its own addresses, at its published ports only.
func TestRouted(t *testing.T) {
	m := newMachine(t)
	lan, _ := m.neighbour6()
	lan.serve(80, "lan")
	routed := m.dual("routed", func(n *network.Network) {
		n.Mode4, n.Mode6 = network.ModeRouted, network.ModeRouted
		n.Subnets = []network.Subnet{{Prefix: netip.MustParsePrefix("2001:db8:77::/64")}}
	})
	lan.command("ip", "route", "add", routed.Subnets[0].Prefix.String(), "via", "192.0.2.1")
	web := m.run(routed, port("tcp", "", 8080, 80))
	web.serve(80, "web")
	web.serve(81, "closed")
	for _, to := range []string{web.at(80), web.at6(80)} {
		lan.reaches("tcp", to, "web")
	}
	for _, to := range []string{web.at(81), web.at6(81), "192.0.2.1:8080", "[" + hostAddress6 + "]:8080"} {
		lan.cannotReach("tcp", to)
	}
	lan.command("busybox", "ping", "-c1", "-W2", web.Address6.Addr().String())
	if from := web.reaches("tcp", "192.0.2.9:80", "lan"); from != web.Address.Addr().String() {
		t.Errorf("the neighbour saw %s: a routed network is not masqueraded", from)
	}
	if from := web.reaches("tcp", "["+lanAddress6+"]:80", "lan"); from != web.Address6.Addr().String() {
		t.Errorf("the neighbour saw %s: a routed network is not masqueraded", from)
	}
	command(t, "nft", "flush", "ruleset")
	m.restart(nil)
	lan.reaches("tcp", web.at6(80), "web")
	lan.cannotReach("tcp", web.at6(81))
	m.end(web)
	m.clean()
	open := m.dual("open", func(n *network.Network) { n.Mode4 = network.ModeUnprotected })
	lan.command("ip", "route", "add", open.Subnets[0].Prefix.String(), "via", "192.0.2.1")
	all := m.run(open)
	all.serve(90, "all")
	lan.reaches("tcp", all.at(90), "all")
	m.end(all)
	m.clean()
}

// An internal network's containers have no way out, an isolated one's not even to the host.
func TestIPv6Internal(t *testing.T) {
	m := newMachine(t)
	lan, _ := m.neighbour6()
	lan.serve(80, "lan")
	host := m.host()
	host.serve(88, "host")
	defer host.die()
	inner := m.dual("inner", func(n *network.Network) { n.Internal = true })
	a, b := m.run(inner), m.run(inner)
	b.serve(80, "b")
	a.reaches("tcp", b.at6(80), "b")
	a.cannotReach("tcp", "["+lanAddress6+"]:80")
	a.command("ip", "-6", "route", "add", "default", "via", inner.Subnets[1].Gateway.String())
	a.cannotReach("tcp", "["+lanAddress6+"]:80")
	a.reaches("tcp", "["+inner.Subnets[1].Gateway.String()+"]:88", "host")
	apart := m.dual("apart", func(n *network.Network) {
		n.Internal, n.Mode4, n.Mode6 = true, network.ModeIsolated, network.ModeIsolated
	})
	c, d := m.run(apart), m.run(apart)
	d.serve(80, "d")
	c.reaches("tcp", d.at6(80), "d")
	c.reaches("tcp", d.at(80), "d")
	for _, sub := range apart.Subnets {
		c.cannotReach("tcp", at(sub.Gateway, 88))
	}
	for _, x := range []*box{a, b, c, d} {
		m.end(x)
	}
	m.clean()
}

// With three networks the gateway that serves is the first connected one's, or the one that is to go first; the next serves
// when it goes.
func TestIPv6Gateways(t *testing.T) {
	m := newMachine(t)
	ctx := context.Background()
	one, two, three := m.dual("one"), m.dual("two"), m.dual("three")
	b := m.run(one)
	connect := func(n network.Network, name string, first bool) network.Endpoint {
		e, err := m.Reserve(ctx, network.Request{Network: n.ID, Container: b.Container, Interface: name, First: first})
		must(t, err)
		must(t, m.Attach(ctx, e, b.ns))
		return e
	}
	serving := func(want network.Network) {
		t.Helper()
		for i, family := range []string{"-4", "-6"} {
			if got := b.output("ip", family, "route", "get", []string{"198.51.100.1", "2001:db8:5::1"}[i]); !strings.Contains(got, "via "+want.Subnets[i].Gateway.String()+" ") {
				t.Errorf("not by network %s: %s", want.Name, got)
			}
		}
	}
	connect(two, "eth1", false)
	serving(one)
	last := connect(three, "eth2", true)
	serving(three)
	must(t, m.Disconnect(ctx, last, b.ns))
	serving(one)
	must(t, m.Disconnect(ctx, b.Endpoint, b.ns))
	serving(two)
}

// What a container is asked to set of its interface, and its link-local addresses, are there; router advertisements are not
// heeded.
func TestInterfaceSettings(t *testing.T) {
	m := newMachine(t)
	both := m.dual("both", func(n *network.Network) { n.MTU = 1400 })
	b, err := m.tryRun(network.Request{Network: both.ID, Container: string(ids.New()), Interface: "wan7", MAC: "02:00:00:12:34:56",
		IPv6:      both.Subnets[1].Prefix.Addr().Next().Next().Next(),
		LinkLocal: []netip.Addr{netip.MustParseAddr("169.254.7.7"), netip.MustParseAddr("fe80::77")},
		Sysctls:   []string{"net.ipv4.conf.IFNAME.log_martians=1", "net.ipv6.conf.IFNAME.hop_limit=33"}})
	must(t, err)
	out := b.output("ip", "addr", "show", "dev", "wan7")
	for _, want := range []string{"mtu 1400", "02:00:00:12:34:56", "169.254.7.7/16", "fe80::77/64", b.Address6.String()} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s: %s", want, out)
		}
	}
	if strings.Contains(out, "tentative") {
		t.Errorf("an address does not count yet: %s", out)
	}
	for key, want := range map[string]string{"net.ipv4.conf.wan7.log_martians": "1", "net.ipv6.conf.wan7.hop_limit": "33",
		"net.ipv6.conf.wan7.accept_ra": "0", "net.ipv6.conf.default.disable_ipv6": "1"} {
		if got := strings.TrimSpace(b.output("sysctl", "-n", key)); got != want {
			t.Errorf("%s = %s, want %s", key, got, want)
		}
	}
	for _, bad := range []string{"net.ipv4.ip_forward=1", "net.ipv4.conf.eth0.x=1", "net.ipv4.conf.IFNAME.../x=1", "kernel.x.y.IFNAME.z=1", "net.ipv4.conf.IFNAME.x"} {
		_, err := m.tryRun(network.Request{Network: both.ID, Container: string(ids.New()), Sysctls: []string{bad}})
		wantError(t, err, errdefs.ErrInvalidArgument, "endpoint sysctl")
	}
	_, err = m.tryRun(network.Request{Network: both.ID, Container: string(ids.New()), LinkLocal: []netip.Addr{netip.MustParseAddr("10.0.0.1")}})
	wantError(t, err, errdefs.ErrInvalidArgument, "link-local")
	_, err = m.tryRun(network.Request{Network: both.ID, Container: string(ids.New()), Sysctls: []string{"net.ipv4.conf.IFNAME.nothing=1"}})
	wantError(t, err, errdefs.ErrInvalidArgument, "no such setting")
}
