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
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/netlink"
)

// Bridge describes the host side of one network.
type Bridge struct {
	Name     string
	Alias    string           // whose it is
	MAC      net.HardwareAddr // fixed, so that it does not follow the ports'
	MTU      int              // 0: the kernel's default
	Address  netip.Prefix     // the gateway; zero for none
	Loopback bool             // route 127.0.0.0/8 over it, for ports published on loopback addresses
	External bool             // its owner made it: it is only looked up
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
	// An IPv4 network's bridge has no IPv6 link-local address by which containers could reach the host's services.
	if err := sysctl("ipv6", b.Name, "disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
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
	there := false
	for _, a := range addresses {
		if a.Index != link.Index {
			continue
		}
		if a.Prefix == b.Address {
			there = true
		} else if err := l.route.DeleteAddress(link.Index, a.Prefix); err != nil {
			return err
		}
	}
	if !there && b.Address.IsValid() {
		if err := l.route.AddAddress(link.Index, b.Address); err != nil {
			return err
		}
	}
	if link.Up {
		return nil
	}
	return l.route.SetUp(b.Name)
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
		if name := names[a.Index]; !ours[name] {
			taken[a.Prefix.Masked()] = name
		}
	}
	for _, r := range routes {
		if name := names[r.Index]; !ours[name] && r.Destination.Bits() > 0 {
			taken[r.Destination.Masked()] = name
		}
	}
	return taken, nil
}

// Address returns the first IPv4 address of the link with that name, the zero value when it has none.
func (l *Links) Address(name string) (netip.Prefix, error) {
	link, err := l.route.Link(name)
	if errors.Is(err, unix.ENODEV) {
		return netip.Prefix{}, missingBridge(name, err)
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("link %s: %w", name, err)
	}
	addresses, err := l.route.Addresses()
	for _, a := range addresses {
		if a.Index == link.Index {
			return a.Prefix, err
		}
	}
	return netip.Prefix{}, err
}
