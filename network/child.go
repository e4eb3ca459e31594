package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network/bridge"
)

// Networks of DriverMacvlan and DriverIPvlan put their containers beside the host on one of its own networks: the parent
// interface's. The host has no address on them; published ports and the firewall have no meaning there.

// childModes are the modes of both drivers and the kernel's numbers for them (linux/if_link.h); the first is the default.
func childModes(driver string) []childMode {
	if driver == DriverMacvlan {
		return []childMode{{"bridge", 4}, {"private", 1}, {"vepa", 2}, {"passthru", 8}}
	}
	return []childMode{{"l2", 0}, {"l3", 1}, {"l3s", 2}}
}

type childMode struct {
	name   string
	number uint32
}

// childFlags are what of ipvlan's neighbours a container reaches.
var childFlags = map[string]uint16{"": 0, "bridge": 0, "private": 1, "vepa": 2}

// defineChild checks what such a network is to be like, and fills in its mode.
func (s *Service) defineChild(n Network) (Network, error) {
	modes := childModes(n.Driver)
	if n.Mode == "" {
		n.Mode = modes[0].name
	}
	if _, ok := n.childMode(); !ok {
		return n, errdefs.InvalidArgument("network %s: unknown %s mode %q: use %s", n.Name, n.Driver, n.Mode, names(modes))
	}
	if _, ok := childFlags[n.Flag]; !ok {
		return n, errdefs.InvalidArgument("network %s: unknown ipvlan flag %q: use bridge, private or vepa", n.Name, n.Flag)
	}
	if n.Parent == "" {
		return n, errdefs.InvalidArgument("network %s: the driver %s needs an interface of the host: -o parent=eth0", n.Name, n.Driver)
	}
	if err := checkLinkName(n.Parent); err != nil {
		return n, err
	}
	if !s.links.Supports(n.Driver) {
		return n, errdefs.FailedPrecondition("network %s: this kernel has no %s (modprobe %s)", n.Name, n.Driver, n.Driver)
	}
	for _, have := range s.networks {
		if have.Parent == n.Parent && (have.Mode == "passthru" || n.Mode == "passthru" || have.Driver != n.Driver) {
			return n, errdefs.Conflict("network %s: interface %s has network %s of driver %s, mode %s", n.Name, n.Parent, have.Name, have.Driver, have.Mode)
		}
	}
	return n, n.check()
}

func names(modes []childMode) string {
	text := ""
	for i, m := range modes {
		switch {
		case i == len(modes)-1:
			text += " or "
		case i > 0:
			text += ", "
		}
		text += m.name
	}
	return text
}

func (n *Network) childMode() (uint32, bool) {
	for _, m := range childModes(n.Driver) {
		if m.name == n.Mode {
			return m.number, true
		}
	}
	return 0, false
}

// child tells whether the network's links have no end on the host.
func (n *Network) child() bool { return n.Driver == DriverMacvlan || n.Driver == DriverIPvlan }

// Connects tells whether containers can be connected to the network: whether it has endpoints of its own.
func (n Network) Connects() bool { return n.Driver == DriverBridge || n.child() }

// layer3 tells whether the network's containers ask for nobody's hardware address, so that no gateway has a meaning.
func (n *Network) layer3() bool { return n.Driver == DriverIPvlan && n.Mode != "l2" }

// connectChild makes the endpoint's link on the parent.
func (s *Service) connectChild(e Endpoint, n Network, netns *os.File) error {
	mode, _ := n.childMode()
	c := bridge.Child{Kind: n.Driver, Mode: mode, Flags: childFlags[n.Flag], Parent: n.Parent, MTU: n.MTU}
	var mac net.HardwareAddr
	if e.MAC != "" {
		var err error
		if mac, err = net.ParseMAC(e.MAC); err != nil {
			return errdefs.InvalidArgument("endpoint %s: %w", e.ID, err)
		}
	}
	c.Inside = e.inside(mac)
	c.Inside.Unready = true
	if n.layer3() && !n.Internal {
		c.Inside.Gateways = nil
		for _, p := range e.addresses() {
			family := uint8(unix.AF_INET)
			if p.Addr().Is6() {
				family = unix.AF_INET6
			}
			c.Inside.Direct = append(c.Inside.Direct, family)
		}
	}
	return s.links.CreateChild(c, netns)
}

// ensureParent finds or makes the interface that the network's links are made on.
func (s *Service) ensureParent(n Network) error {
	if _, err := s.links.EnsureParent(n.Parent, s.config.bridgeAlias(n.ID)); err != nil {
		return fmt.Errorf("network %s: %w", n.Name, err)
	}
	return nil
}

// childMAC is the hardware address of a new endpoint: none for ipvlan, which has the parent's.
func (n *Network) childMAC(a netip.Addr) string {
	if n.Driver == DriverIPvlan || n.Mode == "passthru" {
		return ""
	}
	return macOf(a).String()
}
