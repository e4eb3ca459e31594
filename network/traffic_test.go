package network_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network"
)

func TestContainersReachEachOtherAndTheOutside(t *testing.T) {
	m := newMachine(t)
	lan, _ := m.neighbour()
	lan.serve(80, "lan")
	a, b := m.run(m.bridge), m.run(m.bridge)
	b.serve(80, "b")
	for _, proto := range []string{"tcp", "udp"} {
		if from := a.reaches(proto, b.at(80), "b"); from != a.Address.Addr().String() {
			t.Errorf("%s: b saw %s, want a's own address %s", proto, from, a.Address.Addr())
		}
		if from := a.reaches(proto, "192.0.2.9:80", "lan"); from != "192.0.2.1" {
			t.Errorf("%s: the neighbour saw %s, want the host's address", proto, from)
		}
	}
	m.end(a)
	m.end(b)
	m.clean()
}

// withBridgeFilter runs the test with and without br_netfilter's IP filtering of bridged frames, which Docker and
// Kubernetes turn on.
func withBridgeFilter(t *testing.T, test func(t *testing.T, bridgeFilter bool)) {
	const path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf="+value, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				t.Skip(err)
			}
			test(t, value == "1")
		})
	}
}

func TestPublishedPortIsReachedFromEverywhere(t *testing.T) {
	withBridgeFilter(t, func(t *testing.T, _ bool) {
		m := newMachine(t)
		lan, hostAddress := m.neighbour()
		host := m.host()
		web := m.run(m.bridge, port("tcp", "", 8080, 80), port("udp", "", 8080, 80))
		web.serve(80, "web")
		friend := m.run(m.bridge)
		other, err := m.CreateNetwork(context.Background(), network.Network{Name: "other", EnableIPv4: true, ICC: true, Masquerade: true})
		must(t, err)
		stranger := m.run(other)
		for _, proto := range []string{"tcp", "udp"} {
			host.reaches(proto, "127.0.0.1:8080", "web")
			host.reaches(proto, at(hostAddress, 8080), "web")
			host.reaches(proto, at(m.bridge.Subnets[0].Gateway, 8080), "web")
			if from := lan.reaches(proto, at(hostAddress, 8080), "web"); from != "192.0.2.9" {
				t.Errorf("%s: web saw %s, want the neighbour's own address", proto, from)
			}
			friend.reaches(proto, at(hostAddress, 8080), "web")
			stranger.reaches(proto, at(hostAddress, 8080), "web")
			web.reaches(proto, at(hostAddress, 8080), "web") // hairpin
		}
		m.end(web)
		host.cannotReach("tcp", "127.0.0.1:8080")
		lan.cannotReach("udp", at(hostAddress, 8080))
		m.end(friend)
		m.end(stranger)
		m.clean()
	})
}

func TestLoopbackPublishedStaysOnLoopback(t *testing.T) {
	m := newMachine(t)
	lan, hostAddress := m.neighbour()
	host := m.host()
	web := m.run(m.bridge, port("tcp", "127.0.0.1", 8081, 80), port("udp", "127.0.0.1", 8081, 80))
	web.serve(80, "web")
	friend := m.run(m.bridge)
	// The neighbour's trick (CVE-2020-8558): it routes 127.0.0.0/8 to us. So does a container.
	for _, b := range []*box{lan, friend} {
		gateway := hostAddress.String()
		if b == friend {
			gateway = b.Gateway.String()
		}
		b.command("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
		b.command("ip", "route", "del", "local", "127.0.0.0/8", "table", "local", "dev", "lo")
		b.command("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
		b.command("ip", "route", "add", "127.0.0.1/32", "via", gateway)
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/conf/lan0/route_localnet", []byte("1"), 0)) // as kube-proxy does
	for _, proto := range []string{"tcp", "udp"} {
		host.reaches(proto, "127.0.0.1:8081", "web")
		lan.cannotReach(proto, at(hostAddress, 8081))
		lan.cannotReach(proto, "127.0.0.1:8081")
		lan.cannotReach(proto, web.at(80)) // by direct route
		friend.cannotReach(proto, "127.0.0.1:8081")
		friend.cannotReach(proto, at(hostAddress, 8081))
	}
}

// command runs a program in the box's namespace.
func (b *box) command(name string, args ...string) {
	b.t.Helper()
	b.output(name, args...)
}

// output is what a program in the box's namespace says.
func (b *box) output(name string, args ...string) string {
	b.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=/proc/self/fd/3", name}, args...)...)
	cmd.ExtraFiles = []*os.File{b.ns}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestIsolation(t *testing.T) {
	withBridgeFilter(t, func(t *testing.T, bridgeFilter bool) {
		m := newMachine(t)
		ctx := context.Background()
		lan, _ := m.neighbour()
		lan.serve(80, "lan")
		create := func(n network.Network) network.Network {
			n.EnableIPv4, n.Masquerade = true, true
			n, err := m.CreateNetwork(ctx, n)
			must(t, err)
			return n
		}
		closed := create(network.Network{Name: "closed", ICC: false})
		internal := create(network.Network{Name: "internal", ICC: true, Internal: true})

		web := m.run(m.bridge, port("tcp", "", 8082, 80))
		web.serve(80, "web")
		web.serve(81, "web")
		c1, c2 := m.run(closed), m.run(closed, port("tcp", "", 8083, 80))
		c2.serve(80, "c2")
		i1, i2 := m.run(internal), m.run(internal)
		i2.serve(80, "i2")

		lan.cannotReach("tcp", web.at(81)) // unpublished, by direct route
		lan.cannotReach("tcp", web.at(80)) // published, but not there
		c1.cannotReach("tcp", web.at(80))  // another network
		web.cannotReach("tcp", c2.at(80))
		c1.cannotReach("tcp", c2.at(80)) // no inter-container traffic
		if !bridgeFilter {               // else the published packet is bridged, and stays apart like every other
			c1.reaches("tcp", "192.0.2.1:8083", "c2")
		}
		c1.reaches("tcp", "192.0.2.1:8082", "web")
		c1.reaches("tcp", "192.0.2.9:80", "lan")
		i1.reaches("tcp", i2.at(80), "i2")
		i1.cannotReach("tcp", "192.0.2.9:80")
		i1.cannotReach("tcp", web.at(80))
		web.cannotReach("tcp", i2.at(80))
		i1.command("ip", "route", "add", "default", "via", internal.Subnets[0].Gateway.String())
		i1.cannotReach("tcp", "192.0.2.9:80")
		i1.cannotReach("udp", "192.0.2.9:80")
		i1.cannotReach("tcp", web.at(80))
		lan.cannotReach("tcp", i2.at(80))

		if err := m.RemoveNetwork(ctx, closed.ID); !errdefs.Is(err, errdefs.ErrFailedPrecondition) {
			t.Errorf("removing a network in use: %v", err)
		}
		for _, b := range []*box{web, c1, c2, i1, i2} {
			m.end(b)
		}
		must(t, m.RemoveNetwork(ctx, closed.ID))
		must(t, m.RemoveNetwork(ctx, "internal"))
		m.clean()
	})
}

// TestUDPFlowDoesNotReachNextHolder has a client send from one source port all the time, so that connection
// tracking never forgets its flow.
func TestUDPFlowDoesNotReachNextHolder(t *testing.T) {
	m := newMachine(t, func(c *network.Config) {
		c.DefaultBridge.Address = netip.MustParsePrefix("10.250.0.1/30") // one address: it is reused at once
	})
	lan, hostAddress := m.neighbour()
	first := m.run(m.bridge, port("udp", "", 9000, 80))
	first.serve(80, "first")
	c, err := lan.dial("udp", at(hostAddress, 9000), 5555, patience)
	must(t, err)
	defer func() { _ = c.Close() }()
	if got, err := say(c, patience); err != nil || !strings.HasPrefix(got, "first") {
		t.Fatalf("got %q, %v", got, err)
	}
	m.end(first)
	if got, err := say(c, refusal); err == nil {
		t.Fatalf("an ended container answers %q", got)
	}
	// Its successor has the address, but publishes nothing: nothing of the flow may reach it.
	second := m.run(m.bridge)
	second.serve(80, "second")
	if second.Address != first.Address {
		t.Fatalf("addresses %s and %s: the test needs the same", first.Address, second.Address)
	}
	if got, err := say(c, refusal); err == nil {
		t.Errorf("the flow to a freed port reaches its address's next holder: %q", got)
	}
	m.end(second)
	// The client goes on; a container that publishes the port again gets the packets from its start.
	third := m.run(m.bridge, port("udp", "", 9000, 80))
	third.serve(80, "third")
	if got, err := say(c, patience); err != nil || !strings.HasPrefix(got, "third") {
		t.Errorf("after publishing again: got %q, %v; a stale entry keeps the flow away", got, err)
	}
}

// TestTwoNetworks has a container on two networks, which leaves the first while it runs.
func TestTwoNetworks(t *testing.T) {
	m := newMachine(t)
	ctx := context.Background()
	lan, _ := m.neighbour()
	lan.serve(80, "lan")
	other, err := m.CreateNetwork(ctx, network.Network{Name: "other", EnableIPv4: true, ICC: true, Masquerade: true})
	must(t, err)
	friend := m.run(other)
	friend.serve(80, "friend")
	both := m.run(m.bridge)
	second, err := m.Reserve(ctx, network.Request{Network: other.ID, Container: both.Container, Interface: "eth1"})
	must(t, err)
	must(t, m.Attach(ctx, second, both.ns))
	both.reaches("tcp", friend.at(80), "friend")
	both.reaches("tcp", "192.0.2.9:80", "lan")
	must(t, m.Disconnect(ctx, both.Endpoint, both.ns))
	both.reaches("tcp", "192.0.2.9:80", "lan")
	must(t, m.Detach(ctx, second))
	both.die()
	m.end(friend)
	m.clean()
}

func TestFirewallOff(t *testing.T) {
	m := newMachine(t, func(c *network.Config) { c.FirewallOff = true })
	lan, _ := m.neighbour()
	web := m.run(m.bridge, port("tcp", "", 8084, 80))
	web.serve(80, "web")
	m.host().reaches("tcp", web.at(80), "web")
	lan.reaches("tcp", web.at(80), "web")
	lan.cannotReach("tcp", "192.0.2.1:8084")
	m.end(web)
	m.clean()
}
