package network_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/network"
	"github.com/conex-containers/conex/network/ipam"
)

func TestPortInUse(t *testing.T) {
	m := newMachine(t)
	web, err := m.tryRun(network.Request{Network: "bridge", Container: string(ids.New()), Name: "/web",
		Ports: []network.Port{port("tcp", "", 8080, 80)}})
	must(t, err)
	request := network.Request{Network: "bridge", Container: string(ids.New()), Name: "/late"}
	refused := func(p network.Port, class error, words ...string) {
		t.Helper()
		r := request
		r.Ports = []network.Port{port("tcp", "", 0, 1), p}
		_, err := m.Reserve(context.Background(), r)
		wantError(t, err, class, words...)
	}
	ours := "port is already allocated by container web"
	refused(port("tcp", "", 8080, 80), errdefs.ErrConflict, "driver failed programming external connectivity on endpoint late (", "): Bind for 0.0.0.0:8080 failed: "+ours)
	refused(port("tcp", "127.0.0.1", 8080, 80), errdefs.ErrConflict, "Bind for 127.0.0.1:8080 failed: "+ours)
	foreign, err := net.Listen("tcp4", "127.0.0.1:8090")
	must(t, err)
	defer func() { _ = foreign.Close() }()
	refused(port("tcp", "", 8090, 80), errdefs.ErrConflict, "failed to bind host port 0.0.0.0:8090/tcp: address already in use")
	refused(port("tcp", "198.51.100.7", 8091, 80), errdefs.ErrInvalidArgument, "the host has no address 198.51.100.7")
	refused(network.Port{Proto: "tcp", HostPort: 8080, HostPortEnd: 8080, ContainerPort: 80}, errdefs.ErrConflict, ours)
	refused(port("sctp", "", 1, 1), errdefs.ErrNotImplemented, "sctp")
	refused(port("tcp", "::1", 1, 1), errdefs.ErrInvalidArgument, "--ipv6")
	refused(port("tcp", "", 1, 0), errdefs.ErrInvalidArgument, "container port 0")
	refused(network.Port{HostPort: 9, HostPortEnd: 8, ContainerPort: 80}, errdefs.ErrInvalidArgument, "range 9-8")

	// The others may not take the held port either: not by bind, and not by SO_REUSEADDR, which Go sets.
	if l, err := net.Listen("tcp4", ":8080"); err == nil {
		_ = l.Close()
		t.Error("another program listens on a published port")
	}
	if n := len(m.Endpoints()); n != 1 {
		t.Errorf("%d endpoints after refused requests, want 1", n)
	}
	m.end(web)
	again := m.run(m.bridge, port("tcp", "", 8080, 80), port("tcp", "127.0.0.1", 8090+1, 80))
	m.end(again)
	m.clean()
}

func TestRangesAndRandomPorts(t *testing.T) {
	m := newMachine(t)
	var first *box
	for i := range uint16(3) {
		b := m.run(m.bridge, network.Port{Proto: "tcp", HostPort: 9100, HostPortEnd: 9102, ContainerPort: 80},
			port("tcp", "", 0, 80), port("udp", "", 0, 80))
		if b.Ports[0].HostPort != 9100+i || b.Ports[0].HostPortEnd != 0 {
			t.Errorf("port %d of the range is %+v", i, b.Ports[0])
		}
		for _, p := range b.Ports[1:] {
			if p.HostPort < 32768 || p.HostPort > 60999 {
				t.Errorf("random port %d is not in net.ipv4.ip_local_port_range", p.HostPort)
			}
		}
		if first == nil {
			first = b
			b.serve(80, "first")
		}
	}
	_, err := m.Reserve(context.Background(), network.Request{Network: "bridge", Container: "x",
		Ports: []network.Port{{Proto: "tcp", HostPort: 9100, HostPortEnd: 9102, ContainerPort: 80}}})
	wantError(t, err, errdefs.ErrConflict, "9100-9102", "in use")
	for _, p := range first.Ports {
		m.host().reaches(p.Proto, fmt.Sprintf("127.0.0.1:%d", p.HostPort), "first")
	}
}

// TestPortOfEndedServer publishes a port on which connections of an earlier server are in TIME_WAIT.
func TestPortOfEndedServer(t *testing.T) {
	m := newMachine(t)
	l, err := net.Listen("tcp4", "127.0.0.1:8095")
	must(t, err)
	c, err := net.Dial("tcp4", "127.0.0.1:8095")
	must(t, err)
	s, err := l.Accept()
	must(t, err)
	_, _, _ = s.Close(), c.Close(), l.Close() // the server's side closes first: its port is in TIME_WAIT
	web := m.run(m.bridge, port("tcp", "", 8095, 80))
	web.serve(80, "web")
	m.host().reaches("tcp", "127.0.0.1:8095", "web")
	if l, err := net.Listen("tcp4", ":8095"); err == nil {
		_ = l.Close()
		t.Error("another program listens on a published port")
	}
}

func TestRestartKeepsConnections(t *testing.T) {
	m := newMachine(t)
	lan, hostAddress := m.neighbour()
	web := m.run(m.bridge, port("tcp", "", 8080, 80), port("udp", "127.0.0.1", 8080, 80))
	web.serve(80, "web")
	gone := m.run(m.bridge, port("tcp", "", 8081, 80))
	gone.serve(80, "gone")
	open, err := lan.dial("tcp", at(hostAddress, 8080), 0, patience)
	must(t, err)
	defer func() { _ = open.Close() }()
	alive := func() {
		t.Helper()
		if got, err := say(open, patience); err != nil || !strings.HasPrefix(got, "web") {
			t.Errorf("the open connection: %q, %v", got, err)
		}
	}
	alive()
	m.restart(nil)
	alive()
	m.clean()
	// The kernel may have been changed while no daemon ran.
	for name, damage := range map[string]func(){
		"table":   func() { command(t, "nft", "delete", "table", "inet", m.config.Instance) },
		"rules":   func() { command(t, "nft", "flush", "chain", "inet", m.config.Instance, "forward") },
		"element": func() { command(t, "nft", "flush", "map", "inet", m.config.Instance, "ports") },
		"port":    func() { command(t, "ip", "link", "set", web.HostLink, "nomaster") },
	} {
		t.Run("without "+name, func(t *testing.T) {
			damage()
			if found, err := m.Audit(); err != nil || len(found) == 0 {
				t.Errorf("the audit does not see the damage: %v, %v", found, err)
			}
			m.restart(nil)
			alive()
			m.clean()
			lan.reaches("tcp", at(hostAddress, 8080), "web")
			m.host().reaches("udp", "127.0.0.1:8080", "web")
		})
	}
	// A container that ended meanwhile: its record is not given back, its objects are swept.
	m.restart(func(n []network.Network, e []network.Endpoint) ([]network.Network, []network.Endpoint) {
		for i := range e {
			if e[i].ID == gone.ID {
				return n, append(e[:i:i], e[i+1:]...)
			}
		}
		return n, e
	})
	alive()
	m.clean()
	lan.cannotReach("tcp", at(hostAddress, 8081))
	// What is held again is refused to others, and the address is not given out twice.
	_, err = m.Reserve(context.Background(), network.Request{Network: "bridge", Container: "x", Ports: []network.Port{port("tcp", "", 8080, 80)}})
	wantError(t, err, errdefs.ErrConflict, "already allocated")
	_, err = m.Reserve(context.Background(), network.Request{Network: "bridge", Container: "x", IPv4: web.Address.Addr()})
	wantError(t, err, errdefs.ErrConflict, "already in use")
	m.end(web)
	m.clean()
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// TestFlushedRulesetHeals attaches and detaches after somebody else's "nft flush ruleset".
func TestFlushedRulesetHeals(t *testing.T) {
	m := newMachine(t)
	a := m.run(m.bridge, port("tcp", "", 8080, 80))
	a.serve(80, "a")
	command(t, "nft", "flush", "ruleset")
	b := m.run(m.bridge, port("tcp", "", 8081, 80))
	b.serve(80, "b")
	m.host().reaches("tcp", "127.0.0.1:8080", "a")
	m.host().reaches("tcp", "127.0.0.1:8081", "b")
	m.clean()
	command(t, "nft", "flush", "ruleset")
	m.end(a)
	m.host().reaches("tcp", "127.0.0.1:8081", "b")
	m.end(b)
	// A bridge that somebody deletes is made again for the next container.
	command(t, "ip", "link", "del", m.bridge.Bridge)
	c := m.run(m.bridge)
	c.serve(80, "c")
	m.host().reaches("tcp", c.at(80), "c")
	m.end(c)
	m.clean()
}

func TestParallelAttachDetach(t *testing.T) {
	m := newMachine(t)
	m.neighbour()
	var wg sync.WaitGroup
	seen := sync.Map{}
	for i := range 50 {
		wg.Go(func() {
			for range 2 {
				b, err := m.tryRun(network.Request{Network: "bridge", Container: string(ids.New()),
					Ports: []network.Port{port("tcp", "", 0, 80), port("udp", "", uint16(20000+i), 80)}})
				if err != nil {
					t.Error(err)
					return
				}
				if _, twice := seen.LoadOrStore(b.Address, true); twice {
					t.Errorf("address %s was given twice", b.Address)
				}
				b.serve(80, "b")
				m.host().reaches("tcp", fmt.Sprintf("127.0.0.1:%d", b.Ports[0].HostPort), "b")
				m.host().reaches("udp", fmt.Sprintf("127.0.0.1:%d", b.Ports[1].HostPort), "b")
				m.end(b)
			}
		})
	}
	wg.Wait()
	if left := m.Endpoints(); len(left) != 0 {
		t.Errorf("%d endpoints are left", len(left))
	}
	m.clean()
	must(t, m.RemoveAll(context.Background()))
	if out, err := exec.Command("nft", "list", "tables").Output(); err != nil || strings.Contains(string(out), m.config.Instance) {
		t.Errorf("after RemoveAll: %s, %v", out, err)
	}
	links, err := os.ReadDir("/sys/class/net")
	must(t, err)
	for _, l := range links {
		if strings.HasPrefix(l.Name(), m.config.Instance) {
			t.Errorf("after RemoveAll: link %s", l.Name())
		}
	}
}

func TestFailedAttachLeavesNothing(t *testing.T) {
	m := newMachine(t)
	ctx := context.Background()
	e, err := m.Reserve(ctx, network.Request{Network: "bridge", Container: string(ids.New()), Ports: []network.Port{port("tcp", "", 8080, 80)}})
	must(t, err)
	file, err := os.CreateTemp(t.TempDir(), "no namespace")
	must(t, err)
	if err := m.Attach(ctx, e, file); err == nil {
		t.Error("attached to a file that is no namespace")
	}
	m.clean()
	ns, err := m.NewNamespace(ctx)
	must(t, err)
	defer func() { _ = ns.Close() }()
	must(t, m.Attach(ctx, e, ns)) // the reservation is still good
	// The same name inside is refused, and takes nothing away from the first.
	second, err := m.Reserve(ctx, network.Request{Network: "bridge", Container: string(ids.New())})
	must(t, err)
	if err := m.Attach(ctx, second, ns); err == nil {
		t.Error("two interfaces eth0 in one namespace")
	}
	must(t, m.Detach(ctx, second))
	m.clean()
	must(t, m.Disconnect(ctx, e, ns)) // while the namespace lives
	must(t, m.Detach(ctx, e))         // again: no error
	m.clean()
	if err := m.Attach(ctx, e, ns); !errdefs.IsNotFound(err) {
		t.Errorf("attaching what is not reserved: %v", err)
	}
}

func TestNetworkDefinitions(t *testing.T) {
	m := newMachine(t, func(c *network.Config) {
		c.Pools = []ipam.Pool{{Base: netip.MustParsePrefix("10.99.0.0/22"), Size: 24}}
	})
	ctx := context.Background()
	m.neighbour()
	n := func(name, subnet string, change ...func(*network.Network)) error {
		def := network.Network{Name: name, EnableIPv4: true, ICC: true, Masquerade: true}
		if subnet != "" {
			p, err := netip.ParsePrefix(subnet)
			must(t, err)
			def.Subnets = []network.Subnet{{Prefix: p}}
		}
		for _, c := range change {
			c(&def)
		}
		_, err := m.CreateNetwork(ctx, def)
		return err
	}
	command(t, "ip", "route", "add", "10.99.2.0/24", "via", "192.0.2.9")
	must(t, n("one", ""))
	must(t, n("two", ""))
	one, err := m.Network("one")
	must(t, err)
	two, err := m.Network("two")
	must(t, err)
	if got := two.Subnets[0].Prefix.String(); got != "10.99.3.0/24" {
		t.Errorf("subnet %s: want the one after the host's route, 10.99.3.0/24", got)
	}
	wantError(t, n("three", ""), errdefs.ErrResourceExhausted, "10.99.0.0/22", "--default-address-pool")
	wantError(t, n("one", ""), errdefs.ErrAlreadyExists, "network with name one already exists")
	wantError(t, n("o", "10.99.3.128/25"), errdefs.ErrInvalidArgument, "network name")
	wantError(t, n("over", "10.99.3.128/25"), errdefs.ErrConflict, "overlaps", "network two", "--subnet")
	wantError(t, n("over", "192.0.0.0/16"), errdefs.ErrConflict, "192.0.2.0/24", "lan0", "--subnet")
	wantError(t, n("over", "10.99.2.0/25"), errdefs.ErrConflict, "10.99.2.0/24")
	wantError(t, n("host-part", "10.98.0.1/24"), errdefs.ErrInvalidArgument, "10.98.0.0/24")
	wantError(t, n("tiny", "10.98.0.0/31"), errdefs.ErrInvalidArgument, "/30")
	wantError(t, n("gateway", "10.98.0.0/24", func(n *network.Network) { n.Subnets[0].Gateway = netip.MustParseAddr("10.97.0.1") }), errdefs.ErrInvalidArgument, "gateway 10.97.0.1")
	wantError(t, n("range", "10.98.0.0/24", func(n *network.Network) { n.Subnets[0].Range = netip.MustParsePrefix("10.97.0.0/25") }), errdefs.ErrInvalidArgument, "range 10.97.0.0/25")
	wantError(t, n("nothing", "", func(n *network.Network) { n.EnableIPv4 = false }), errdefs.ErrInvalidArgument, "--ipv6")
	six := func(n *network.Network) { n.EnableIPv4, n.EnableIPv6 = false, true }
	wantError(t, n("host-part", "fd00::1/64", six), errdefs.ErrInvalidArgument, "fd00::/64")
	wantError(t, n("link-local", "fe80::/64", six), errdefs.ErrInvalidArgument, "link-local")
	wantError(t, n("loopback", "127.1.0.0/16"), errdefs.ErrInvalidArgument, "loopback")
	wantError(t, n("multicast", "224.0.0.0/24"), errdefs.ErrInvalidArgument, "multicast")
	wantError(t, n("small", "fd00::/64", six, func(n *network.Network) { n.MTU = 1000 }), errdefs.ErrInvalidArgument, "1280")
	wantError(t, n("apart", "10.98.0.0/24", func(n *network.Network) { n.Mode4 = network.ModeIsolated }), errdefs.ErrInvalidArgument, "--internal")
	wantError(t, n("mode", "10.98.0.0/24", func(n *network.Network) { n.Mode4 = "bridged" }), errdefs.ErrInvalidArgument, "nat-unprotected")
	wantError(t, n("driver", "", func(n *network.Network) { n.Driver = "overlay" }), errdefs.ErrInvalidArgument, "overlay")
	wantError(t, n("link", "10.98.0.0/24", func(n *network.Network) { n.Bridge = "../../etc" }), errdefs.ErrInvalidArgument, "interface name")
	wantError(t, n("link", "10.98.0.0/24", func(n *network.Network) { n.Bridge = "lan0" }), errdefs.ErrConflict, "lan0", "not ours")
	if one.Bridge == two.Bridge || len(one.Bridge) > 15 {
		t.Errorf("bridges %q and %q", one.Bridge, two.Bridge)
	}
	must(t, m.RemoveNetwork(ctx, "one"))
	must(t, n("three", ""))
	for _, name := range []string{"host", "none"} {
		if have, err := m.Network(name); err != nil || have.Driver != name {
			t.Errorf("network %s: %+v, %v", name, have, err)
		}
		_, err := m.Reserve(ctx, network.Request{Network: name, Container: "x"})
		wantError(t, err, errdefs.ErrInvalidArgument, "no endpoints")
	}
	_, err = m.Reserve(ctx, network.Request{Network: "nowhere", Container: "x"})
	wantError(t, err, errdefs.ErrNotFound, "network nowhere not found")
	_, err = m.Reserve(ctx, network.Request{Network: "two", Container: "x", IPv4: two.Subnets[0].Gateway})
	wantError(t, err, errdefs.ErrInvalidArgument, "reserved")
	_, err = m.Reserve(ctx, network.Request{Network: "two", Container: "../x"})
	wantError(t, err, errdefs.ErrInvalidArgument, "id")
	m.clean()
}

// TestDefaultBridgeFollowsConfiguration restarts a daemon with other flags.
func TestDefaultBridgeFollowsConfiguration(t *testing.T) {
	m := newMachine(t)
	before := m.bridge
	m.restart(nil)
	if m.bridge.ID != before.ID || m.bridge.Subnets[0].Prefix != before.Subnets[0].Prefix {
		t.Errorf("the default network changed by itself: %+v", m.bridge)
	}
	m.config.DefaultBridge = network.DefaultBridge{Address: netip.MustParsePrefix("10.96.7.1/24"),
		Range: netip.MustParsePrefix("10.96.7.128/25"), MTU: 1400, ICCOff: true}
	m.restart(nil)
	if m.bridge.ID != before.ID || m.bridge.Subnets[0].Gateway.String() != "10.96.7.1" || m.bridge.ICC {
		t.Errorf("the default network does not follow its configuration: %+v", m.bridge)
	}
	b := m.run(m.bridge)
	if got := b.Address.String(); got != "10.96.7.128/24" {
		t.Errorf("address %s, want the first of --fixed-cidr", got)
	}
	if mac := b.MAC; mac != "02:42:0a:60:07:80" {
		t.Errorf("hardware address %s does not follow from %s", mac, b.Address)
	}
	b.serve(80, "b")
	m.host().reaches("tcp", b.at(80), "b")
	m.end(b)
	m.clean()
}
