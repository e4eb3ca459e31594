package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network"
	"github.com/conex-containers/conex/network/ipam"
)

// TestMain runs the tests again in a network namespace of their own: to them it is the host, and the real host is
// never touched.
func TestMain(m *testing.M) {
	const inside = "CONEX_TEST_NETNS"
	if os.Getenv(inside) != "" || os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// patience bounds every exchange that must succeed, refusal every one that must not.
const (
	patience = 3 * time.Second
	refusal  = 300 * time.Millisecond
)

// machine is a host: the test's namespace with one daemon's network service in it.
type machine struct {
	testing.TB
	*network.Service
	config network.Config
	bridge network.Network
}

var instances struct {
	sync.Mutex
	n int
}

// newMachine starts a service with the default networks, on pools of its own.
func newMachine(t testing.TB, change ...func(*network.Config)) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	must(t, setUp("lo"))
	instances.Lock()
	instances.n++
	n := instances.n
	instances.Unlock()
	config := network.Config{Instance: fmt.Sprintf("cxt%d", n),
		Pools: []ipam.Pool{{Base: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", n)), Size: 20}}}
	for _, c := range change {
		c(&config)
	}
	m := &machine{TB: t, config: config}
	m.start(nil, nil)
	t.Cleanup(func() {
		must(t, m.RemoveAll(context.Background()))
		_ = m.Close()
	})
	return m
}

// start makes a service and restores the records in it.
func (m *machine) start(networks []network.Network, endpoints []network.Endpoint) {
	m.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s, err := network.New(m.config, log)
	must(m, err)
	m.Service = s
	must(m, s.Restore(context.Background(), networks, endpoints))
	all, err := s.Defaults(context.Background())
	must(m, err)
	for _, n := range all {
		if n.Name == "bridge" {
			m.bridge = n
		}
	}
}

// restart is a daemon that ends (or dies: Close writes nothing) and comes back with its records.
func (m *machine) restart(change func([]network.Network, []network.Endpoint) ([]network.Network, []network.Endpoint)) {
	m.Helper()
	networks, endpoints := m.Networks(), m.Endpoints()
	must(m, m.Close())
	if change != nil {
		networks, endpoints = change(networks, endpoints)
	}
	m.start(networks, endpoints)
}

// box is a container as far as the network sees it, or another machine.
type box struct {
	t  testing.TB
	ns *os.File
	network.Endpoint
	servers []io.Closer
}

// run connects a new container to the network.
func (m *machine) run(n network.Network, ports ...network.Port) *box {
	m.Helper()
	b, err := m.tryRun(network.Request{Network: n.ID, Container: string(ids.New()), Ports: ports})
	must(m, err)
	return b
}

func (m *machine) tryRun(r network.Request) (*box, error) {
	ctx := context.Background()
	e, err := m.Reserve(ctx, r)
	if err != nil {
		return nil, err
	}
	ns, err := m.NewNamespace(ctx)
	if err != nil {
		return nil, err
	}
	b := &box{t: m.TB, ns: ns, Endpoint: e}
	m.Cleanup(b.die)
	return b, m.Attach(ctx, e, ns)
}

// end detaches the container and lets its namespace die.
func (m *machine) end(b *box) {
	m.Helper()
	must(m, m.Detach(context.Background(), b.Endpoint))
	b.die()
}

// die closes all that keeps the box's namespace alive.
func (b *box) die() {
	for _, s := range b.servers {
		_ = s.Close()
	}
	b.servers = nil
	_ = b.ns.Close()
}

func (m *machine) clean() {
	m.Helper()
	found, err := m.Audit()
	must(m, err)
	if len(found) > 0 {
		m.Errorf("audit: %s", strings.Join(found, "\n"))
	}
}

// host is the machine itself as a place to connect from.
func (m *machine) host() *box {
	ns, err := os.Open("/proc/thread-self/ns/net")
	must(m, err)
	m.Cleanup(func() { _ = ns.Close() })
	return &box{t: m.TB, ns: ns}
}

// neighbour is another machine on a network of the host's: 192.0.2.0/24, where the host has .1 and it has .9.
func (m *machine) neighbour() (*box, netip.Addr) {
	m.Helper()
	ns, err := m.NewNamespace(context.Background())
	must(m, err)
	route, err := netlink.OpenRoute()
	must(m, err)
	defer func() { _ = route.Close() }()
	must(m, route.CreateVeth(netlink.Veth{Name: "lan0", Peer: "eth0", PeerMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Namespace: ns}))
	lan, err := route.Link("lan0")
	must(m, err)
	must(m, route.SetUp("lan0"))
	must(m, route.AddAddress(lan.Index, netip.MustParsePrefix("192.0.2.1/24")))
	b := &box{t: m.TB, ns: ns}
	m.Cleanup(func() { b.die(); _ = removeLink("lan0") })
	must(m, netlink.In(ns, func() error {
		inside, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = inside.Close() }()
		eth, err := inside.Link("eth0")
		if err != nil {
			return err
		}
		return inside.Configure(eth.Index, netlink.Interface{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")},
			Gateways: []netlink.Gateway{{Addr: netip.MustParseAddr("192.0.2.1")}}})
	}))
	return b, netip.MustParseAddr("192.0.2.1")
}

func removeLink(name string) error {
	route, err := netlink.OpenRoute()
	if err != nil {
		return err
	}
	defer func() { _ = route.Close() }()
	return route.Delete(name)
}

func setUp(name string) error {
	route, err := netlink.OpenRoute()
	if err != nil {
		return err
	}
	defer func() { _ = route.Close() }()
	return route.SetUp(name)
}

// serve answers on the port with "name client-address", TCP and UDP, until the test ends.
func (b *box) serve(port uint16, name string) {
	b.t.Helper()
	var listener net.Listener
	var packets net.PacketConn
	must(b.t, netlink.In(b.ns, func() (err error) {
		if listener, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		packets, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		return err
	}))
	stopped, stop := context.WithCancel(context.Background())
	b.servers = append(b.servers, listener, packets, closer(stop))
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				defer context.AfterFunc(stopped, func() { _ = c.Close() })()
				buf := make([]byte, 64)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					_, _ = fmt.Fprintf(c, "%s %s", name, host)
				}
			}()
		}
	}()
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(from.String())
			_, _ = packets.WriteTo([]byte(name+" "+host), from)
		}
	}()
}

type closer func()

func (c closer) Close() error { c(); return nil }

// dial connects from the box; local is the UDP source port or 0.
func (b *box) dial(proto, to string, local int, within time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := netlink.In(b.ns, func() (err error) {
		d := net.Dialer{Timeout: within}
		if local != 0 {
			d.LocalAddr = &net.UDPAddr{Port: local}
		}
		conn, err = d.Dial(proto, to)
		return err
	})
	return conn, err
}

// say sends one message on an open connection and returns the answer.
func say(c net.Conn, within time.Duration) (string, error) {
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// ask connects, says something and returns the answer.
func (b *box) ask(proto, to string, within time.Duration) (string, error) {
	c, err := b.dial(proto, to, 0, within)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	return say(c, within)
}

// reaches fails the test unless the server of that name answers; it returns the client address that it saw.
func (b *box) reaches(proto, to, name string) string {
	b.t.Helper()
	got, err := b.ask(proto, to, patience)
	who, from, _ := strings.Cut(got, " ")
	if err != nil || who != name {
		b.t.Errorf("%s %s: got %q, %v; want an answer of %s", proto, to, got, err, name)
	}
	return from
}

// cannotReach fails the test if anything answers.
func (b *box) cannotReach(proto, to string) {
	b.t.Helper()
	if got, err := b.ask(proto, to, refusal); err == nil {
		b.t.Errorf("%s %s: got %q, want no answer", proto, to, got)
	}
}

func (b *box) at(port uint16) string { return netip.AddrPortFrom(b.Address.Addr(), port).String() }

func (b *box) at6(port uint16) string { return netip.AddrPortFrom(b.Address6.Addr(), port).String() }

func at(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func port(proto, hostIP string, hostPort, containerPort uint16) network.Port {
	p := network.Port{Proto: proto, HostPort: hostPort, ContainerPort: containerPort}
	if hostIP != "" {
		p.HostIP = netip.MustParseAddr(hostIP)
	}
	return p
}

func wantError(t *testing.T, err, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("error %v is not of class %v", err, class)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}
