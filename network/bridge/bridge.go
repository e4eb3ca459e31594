// Package bridge makes the links of a network: the bridge on the host, and for each container a veth pair between
// the bridge and the container's network namespace.
package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/netlink"
)

// Bridge describes the host side of one network.
type Bridge struct {
	Name  string
	Alias string           // whose it is
	MAC   net.HardwareAddr // fixed, so that it does not follow the ports'
	MTU   int              // 0: the kernel's default
	IPv6  bool
	// Addresses are the gateways'.
	Addresses []netip.Prefix
	Loopback  bool // answers to loopback addresses may come by it, for ports published on those
	External  bool // its owner made it: it is only looked up
}

// Links makes and removes links in the host's network namespace. Safe for concurrent use.
type Links struct {
	route *netlink.Socket
	log   *slog.Logger

	mu       sync.Mutex
	released []string    // host ends that the kernel is about to remove
	reaper   *time.Timer // nil when there are none
}

// Open connects to the kernel in the calling thread's network namespace.
func Open(log *slog.Logger) (*Links, error) {
	s, err := netlink.OpenRoute()
	if err != nil {
		return nil, err
	}
	return &Links{route: s, log: log}, nil
}

// Close disconnects; the links stay, but for released ones.
func (l *Links) Close() error {
	l.mu.Lock()
	if l.reaper != nil {
		l.reaper.Stop()
	}
	l.mu.Unlock()
	l.reap()
	return l.route.Close()
}

// Ensure makes the bridge, or what is missing of it, and returns its index. A link of that name that has another
// alias or is no bridge is ErrConflict.
func (l *Links) Ensure(b Bridge) (int, error) {
	link, err := l.route.Link(b.Name)
	if b.External {
		if err != nil {
			return 0, missingBridge(b.Name, err)
		}
		if link.Kind != "bridge" {
			return 0, errdefs.InvalidArgument("link %s is not a bridge: choose another --bridge", b.Name)
		}
		return link.Index, nil
	}
	if errors.Is(err, unix.ENODEV) {
		if err = l.route.CreateBridge(b.Name, b.Alias, b.MAC, b.MTU); err == nil {
			link, err = l.route.Link(b.Name)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("bridge %s: %w", b.Name, err)
	}
	if link.Kind != "bridge" || link.Alias != b.Alias {
		return 0, errdefs.Conflict("link %s exists already and is not ours (alias %q): remove it or choose another bridge name", b.Name, link.Alias)
	}
	if err := l.configure(link, b); err != nil {
		return 0, fmt.Errorf("bridge %s: %w", b.Name, err)
	}
	return link.Index, nil
}

// missingBridge names the way out where a bridge that its owner was to make is not there.
func missingBridge(name string, err error) error {
	return errdefs.NotFound("bridge %s: %w: make it first (ip link add %s type bridge; ip addr add ADDRESS/BITS dev %s; ip link set %s up), or leave --bridge %s out", name, err, name, name, name, name)
}

// configure brings an existing bridge to what b says.
func (l *Links) configure(link netlink.Link, b Bridge) error {
	if err := configureIPv6(b); err != nil {
		return err
	}
	if b.Loopback {
		if err := sysctl("ipv4", b.Name, "route_localnet", "1"); err != nil {
			return err
		}
	}
	addresses, err := l.route.Addresses()
	if err != nil {
		return err
	}
	wanted := b.Addresses
	if b.IPv6 {
		wanted = append(slices.Clone(wanted), LinkLocal(b.MAC))
	}
	there := map[netip.Prefix]bool{}
	for _, a := range addresses {
		if a.Index != link.Index {
			continue
		}
		if slices.Contains(wanted, a.Prefix) {
			there[a.Prefix] = true
		} else if err := l.route.DeleteAddress(link.Index, a.Prefix); err != nil {
			return err
		}
	}
	for _, a := range wanted {
		if !there[a] {
			if err := l.route.AddAddress(link.Index, a); err != nil {
				return err
			}
		}
	}
	if !link.Up {
		if err := l.route.SetUp(b.Name); err != nil {
			return err
		}
	}
	if b.Loopback && b.IPv6 {
		return l.route.LocalLoopback(link.Index)
	}
	return nil
}

// LinkLocal derives the address that an interface would give itself (RFC 4291 appendix A). Given by hand it counts at once, while
// the kernel would look for duplicates for a second; until then a bridge asks for no neighbour.
func LinkLocal(mac net.HardwareAddr) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// configureIPv6 turns IPv6 of a bridge on or off. An IPv4 network's has no link-local address by which containers could reach
// the host's services. One with IPv6 heeds no router advertisement: containers would send them (CVE-2020-13401).
func configureIPv6(b Bridge) error {
	settings := [][2]string{{"disable_ipv6", "1"}}
	if b.IPv6 {
		settings = [][2]string{{"accept_ra", "0"}, {"accept_redirects", "0"}, {"addr_gen_mode", "1"}, {"disable_ipv6", "0"}}
	}
	for _, x := range settings {
		err := sysctl("ipv6", b.Name, x[0], x[1])
		if errors.Is(err, os.ErrNotExist) {
			if b.IPv6 {
				return errdefs.FailedPrecondition("the kernel has no IPv6 (ipv6.disable=1?): create the network without --ipv6")
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setSysctl is sysctl for a fresh namespace, where nothing is there already: in as few system calls as can be.
func setSysctl(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(value))
	return errors.Join(err, unix.Close(fd))
}

// sysctl writes net.FAMILY.conf.LINK.NAME, when it is not there already.
func sysctl(family, link, name, value string) error {
	path := filepath.Join("/proc/sys/net", family, "conf", link, name)
	if old, err := os.ReadFile(path); err == nil && string(bytes.TrimSpace(old)) == value {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}

// EnableForwarding turns net.ipv4.ip_forward on.
func EnableForwarding() error {
	const path = "/proc/sys/net/ipv4/ip_forward"
	old, err := os.ReadFile(path)
	if err == nil && string(bytes.TrimSpace(old)) == "1" {
		return nil
	}
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		return errdefs.FailedPrecondition(
			"IPv4 forwarding is off and cannot be turned on (%w): run `sysctl -w net.ipv4.ip_forward=1`, or start with --ip-forward=false", err)
	}
	return nil
}

// EnableForwarding6 turns net.ipv6.conf.all.forwarding on. A host that forwards heeds no router advertisements unless told so:
// the interfaces that it learns its own addresses and routes by keep doing that.
func EnableForwarding6() error {
	const conf = "/proc/sys/net/ipv6/conf/"
	old, err := os.ReadFile(conf + "all/forwarding")
	if err == nil && string(bytes.TrimSpace(old)) == "1" {
		return nil
	}
	links, _ := os.ReadDir(conf)
	for _, link := range links {
		accepts, err := os.ReadFile(conf + link.Name() + "/accept_ra")
		if link.Name() == "all" || err != nil || string(bytes.TrimSpace(accepts)) != "1" {
			continue
		}
		if err := sysctl("ipv6", link.Name(), "accept_ra", "2"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("keep router advertisements of %s: %w", link.Name(), err)
		}
	}
	if err := sysctl("ipv6", "all", "forwarding", "1"); err != nil {
		return errdefs.FailedPrecondition(
			"IPv6 forwarding is off and cannot be turned on (%w): run `sysctl -w net.ipv6.conf.all.forwarding=1`, or start with --ip-forward=false", err)
	}
	return nil
}

// Remove deletes a bridge; one that is gone already is no error.
func (l *Links) Remove(name string) error { return l.Delete(name) }

// Delete removes one link, waiting for the kernel to do it (about 15 ms). A missing one is no error.
func (l *Links) Delete(name string) error {
	// A socket of its own: the wait must not keep the others from attaching.
	s, err := netlink.OpenRoute()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.Delete(name); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// DeleteAll removes many links for about the price of one.
func (l *Links) DeleteAll(names []string) error {
	s, err := netlink.OpenRoute()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if err := s.DeleteAll(names); err != nil {
		return fmt.Errorf("delete links %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// List returns all links of the host.
func (l *Links) List() ([]netlink.Link, error) { return l.route.Links() }

// Taken returns the host's own addresses' subnets and routes, but not those over the bridges named in ours and no
// default route: what an automatic subnet must keep clear of.
func (l *Links) Taken(ours map[string]bool) (map[netip.Prefix]string, error) {
	links, err := l.route.Links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Index] = link.Name
	}
	addresses, err := l.route.Addresses()
	if err != nil {
		return nil, err
	}
	routes, err := l.route.Routes()
	if err != nil {
		return nil, err
	}
	taken := map[netip.Prefix]string{}
	for _, a := range addresses {
		if name := names[a.Index]; !ours[name] && !everywhere(a.Prefix) {
			taken[a.Prefix.Masked()] = name
		}
	}
	for _, r := range routes {
		if name := names[r.Index]; !ours[name] && r.Destination.Bits() > 0 && !everywhere(r.Destination) {
			taken[r.Destination.Masked()] = name
		}
	}
	return taken, nil
}

// everywhere tells of what each interface has for itself: link-local and multicast addresses of IPv6.
func everywhere(p netip.Prefix) bool {
	a := p.Addr()
	return a.Is6() && (a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsLoopback())
}

// Addresses returns the addresses of the link with that name.
func (l *Links) Addresses(name string) ([]netip.Prefix, error) {
	link, err := l.route.Link(name)
	if errors.Is(err, unix.ENODEV) {
		return nil, missingBridge(name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	addresses, err := l.route.Addresses()
	var all []netip.Prefix
	for _, a := range addresses {
		if a.Index == link.Index {
			all = append(all, a.Prefix)
		}
	}
	return all, err
}
