package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/netlink"
)

// Port describes one container's link to a bridge.
type Port struct {
	HostLink  string // name of the host end
	Alias     string // whose it is
	Master    int    // the bridge's index
	MTU       int
	Interface string // name inside
	MAC       net.HardwareAddr
	Address   netip.Prefix
	Gateway   netip.Addr // zero: no default route
	Isolated  bool       // no frames to other isolated ports (ICC off)
	Hairpin   bool       // frames may return by this port
}

// Create makes the pair, the host end a port of the bridge and the peer inside the namespace, marks the host end
// with its alias and brings it up. EEXIST: a name is taken; EINVAL or ENODEV: the bridge is gone.
func (l *Links) Create(p Port, ns *os.File) error {
	err := l.route.CreateVeth(netlink.Veth{Name: p.HostLink, Master: p.Master, MTU: p.MTU,
		Peer: p.Interface, PeerMAC: p.MAC, Namespace: ns})
	if err != nil {
		return fmt.Errorf("create veth %s (%s inside): %w", p.HostLink, p.Interface, err)
	}
	err = l.route.EnablePort(p.HostLink, netlink.Port{Alias: p.Alias, Hairpin: p.Hairpin, Isolated: p.Isolated})
	if err != nil {
		return fmt.Errorf("enable link %s: %w", p.HostLink, err)
	}
	return nil
}

// carrier bounds the wait for a link whose ends are both up; the kernel works a change of carrier off within a second.
const carrier = 2 * time.Second

// Configure brings loopback up inside the namespace, gives the interface there its address and default route, and
// returns when frames pass both ways: a packet sent right afterwards is not lost.
func (l *Links) Configure(p Port, ns *os.File) error {
	if err := configureInside(p, ns); err != nil {
		return fmt.Errorf("configure %s inside: %w", p.Interface, err)
	}
	if err := l.route.AwaitReady(p.HostLink, carrier); err != nil {
		return fmt.Errorf("link %s: %w", p.HostLink, err)
	}
	return nil
}

func configureInside(p Port, ns *os.File) error {
	return netlink.In(ns, func() error {
		inside, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = inside.Close() }()
		link, err := inside.Link(p.Interface)
		if err != nil {
			return err
		}
		if err := inside.Configure(link.Index, p.Address, p.Gateway); err != nil {
			return err
		}
		return inside.AwaitReady(p.Interface, carrier)
	})
}

// Rename gives a link its name back; where the kernel renames no link that is up (before Linux 6.2) it goes down for it.
func (l *Links) Rename(index int, name string) error {
	err := l.route.Rename(index, name)
	if errors.Is(err, unix.EBUSY) {
		if err = l.route.SetDown(index); err == nil {
			err = l.route.Rename(index, name)
		}
	}
	return err
}

// Rejoin makes an existing host end an enabled port of the bridge again.
func (l *Links) Rejoin(hostLink string, master int) error {
	if err := l.route.SetPort(hostLink, master); err != nil {
		return fmt.Errorf("rejoin link %s: %w", hostLink, err)
	}
	return nil
}

// Release takes the host end down and off the bridge without waiting; the kernel removes it when the container's
// namespace dies, usually within milliseconds. A namespace can live on without a process, held by sockets that wait
// for a last acknowledgement: a link that is still there after a second is deleted in the background. A link that
// is gone already is no error.
func (l *Links) Release(hostLink string) error {
	err := l.route.Release(hostLink)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	l.mu.Lock()
	l.released = append(l.released, hostLink)
	if l.reaper == nil {
		l.reaper = time.AfterFunc(settle, l.reap)
	}
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("release link %s: %w", hostLink, err)
	}
	return nil
}

// settle is how long the kernel has to remove a released link by itself.
const settle = time.Second

// reap deletes the released links that still exist.
func (l *Links) reap() {
	l.mu.Lock()
	names := l.released
	l.released, l.reaper = nil, nil
	l.mu.Unlock()
	if len(names) == 0 {
		return
	}
	if err := l.DeleteAll(names); err != nil {
		l.log.Warn("released links stay", "op", "reap", "err", err)
	}
}

// AwaitGone waits at most that long for the links to disappear, and returns those that are still there.
func (l *Links) AwaitGone(names map[string]bool, atMost time.Duration) ([]string, error) {
	return netlink.AwaitGone(names, atMost)
}

// NewNamespace makes a network namespace with its loopback interface up. Interfaces born in it get no IPv6
// address by themselves: an IPv4 network's containers have IPv6 on loopback only, as Docker's have.
func NewNamespace() (*os.File, error) {
	return netlink.NewNamespace(func() error {
		s, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		if err := sysctl("ipv6", "default", "disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return s.SetUp("lo")
	})
}

// FiltersBridged reports whether frames between a bridge's ports pass the IP firewall (br_netfilter, wanted by
// Kubernetes and made by Docker). Then a packet that returns to its own container is bridged, not routed, and its
// port must allow hairpin.
func FiltersBridged() bool {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && len(b) > 0 && b[0] != '0'
}
