package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/netlink"
)

// Port describes one container's link to a bridge.
type Port struct {
	HostLink string // name of the host end
	Alias    string // whose it is
	Master   int    // the bridge's index
	MTU      int
	Inside   Inside
	Isolated bool // no frames to other isolated ports (ICC off)
	Hairpin  bool // frames may return by this port
}

// Inside is a link as its container sees it.
type Inside struct {
	Interface string // name
	MAC       net.HardwareAddr
	IPv6      bool
	Addresses []netip.Prefix
	Gateways  []netlink.Gateway // none: no default route
	Direct    []uint8           // address families with a default route that has no gateway
	Sysctls   []string          // net.ipv4.conf.IFNAME.name=value
	Unready   bool              // it may stay without a carrier: nobody waits for one
}

// Create makes the pair, the host end a port of the bridge and the peer inside the namespace, marks the host end
// with its alias and brings it up. EEXIST: a name is taken; EINVAL or ENODEV: the bridge is gone.
func (l *Links) Create(p Port, ns *os.File) error {
	err := l.route.CreateVeth(netlink.Veth{Name: p.HostLink, Master: p.Master, MTU: p.MTU,
		Peer: p.Inside.Interface, PeerMAC: p.Inside.MAC, Namespace: ns})
	if err != nil {
		return fmt.Errorf("create veth %s (%s inside): %w", p.HostLink, p.Inside.Interface, err)
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
	if err := configureInside(p.Inside, ns); err != nil {
		return fmt.Errorf("configure %s inside: %w", p.Inside.Interface, err)
	}
	if err := l.route.AwaitReady(p.HostLink, carrier); err != nil {
		return fmt.Errorf("link %s: %w", p.HostLink, err)
	}
	return nil
}

func configureInside(p Inside, ns *os.File) error {
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
		addresses := p.Addresses
		if p.IPv6 {
			if err := enableIPv6(p.Interface); err != nil {
				return err
			}
			addresses = append([]netip.Prefix{LinkLocal(link.MAC)}, addresses...)
		}
		for _, line := range p.Sysctls {
			if err := interfaceSysctl(p.Interface, line); err != nil {
				return err
			}
		}
		if err := inside.Configure(link.Index, netlink.Interface{Addresses: addresses, Gateways: p.Gateways, Direct: p.Direct}); err != nil {
			return err
		}
		if p.Unready {
			return nil
		}
		return inside.AwaitReady(p.Interface, carrier)
	})
}

// enableIPv6 lets an interface that is still down have IPv6: the addresses that it is given, and none by router advertisements,
// which another container could send (CVE-2020-13401). Other interfaces of the namespace stay without.
func enableIPv6(name string) error {
	for _, x := range [][2]string{{"accept_ra", "0"}, {"addr_gen_mode", "1"}, {"disable_ipv6", "0"}} {
		if err := sysctl("ipv6", name, x[0], x[1]); err != nil {
			return err
		}
	}
	return nil
}

// interfaceSysctl sets net.FAMILY.conf.IFNAME.NAME=VALUE; its owner has checked its form.
func interfaceSysctl(name, line string) error {
	key, value, _ := strings.Cut(line, "=")
	parts := strings.Split(key, ".")
	for i, part := range parts {
		if strings.EqualFold(part, "IFNAME") {
			parts[i] = name
		}
	}
	err := os.WriteFile(filepath.Join(append([]string{"/proc/sys"}, parts...)...), []byte(value), 0)
	if errors.Is(err, os.ErrNotExist) {
		return errdefs.InvalidArgument("endpoint sysctl %s: the kernel has no such setting", key)
	}
	if err != nil {
		return errdefs.InvalidArgument("endpoint sysctl %s: %w", line, err)
	}
	return nil
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
		if err := setSysctl("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return s.SetUp("lo")
	})
}

// FiltersBridged6 is FiltersBridged for IPv6. It also keeps ports published on ::1 from working: the bridge translates the
// answers back to ::1, and then they look as if they came so from a wire.
func FiltersBridged6() bool {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
	return err == nil && len(b) > 0 && b[0] != '0'
}

// FiltersBridged reports whether frames between a bridge's ports pass the IP firewall (br_netfilter, wanted by
// Kubernetes and made by Docker). Then a packet that returns to its own container is bridged, not routed, and its
// port must allow hairpin.
func FiltersBridged() bool {
	b, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	return err == nil && len(b) > 0 && b[0] != '0'
}
