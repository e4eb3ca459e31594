package bridge

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/netlink"
)

// Child describes a container's link that is made on top of an interface of the host (macvlan, ipvlan): there is no end of it on
// the host.
type Child struct {
	Kind   string // "macvlan" or "ipvlan"
	Mode   uint32
	Flags  uint16
	Parent string
	MTU    int
	Inside Inside
}

// EnsureParent finds the interface that children are made on. "eth0.10" is made, for VLAN 10 on eth0, when it is not there.
func (l *Links) EnsureParent(name, alias string) (netlink.Link, error) {
	link, err := l.route.Link(name)
	if err == nil {
		return link, nil
	}
	below, tag, ok := strings.Cut(name, ".")
	if !errors.Is(err, unix.ENODEV) || !ok {
		return link, errdefs.InvalidArgument("parent interface %s: %w: name one of the host's (ip link)", name, err)
	}
	id, err := strconv.ParseUint(tag, 10, 16)
	if err != nil || id < 1 || id > 4094 {
		return link, errdefs.InvalidArgument("parent interface %s: there is no such interface, and %q is no VLAN id from 1 to 4094", name, tag)
	}
	parent, err := l.route.Link(below)
	if err != nil {
		return link, errdefs.InvalidArgument("parent interface %s: interface %s: %w", name, below, err)
	}
	err = l.route.CreateVLAN(name, alias, parent.Index, uint16(id))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return link, errdefs.FailedPrecondition("parent interface %s: this kernel has no VLANs (CONFIG_VLAN_8021Q, modprobe 8021q): %w", name, err)
	}
	if err != nil {
		return link, fmt.Errorf("parent interface %s: %w", name, err)
	}
	return l.route.Link(name)
}

// RemoveParent deletes what EnsureParent has made; another's interface stays.
func (l *Links) RemoveParent(name, alias string) error {
	link, err := l.route.Link(name)
	if errors.Is(err, unix.ENODEV) || err == nil && link.Alias != alias {
		return nil
	}
	if err != nil {
		return fmt.Errorf("parent interface %s: %w", name, err)
	}
	return l.Delete(name)
}

// CreateChild makes the link inside the namespace and configures it there.
func (l *Links) CreateChild(c Child, ns *os.File) error {
	parent, err := l.route.Link(c.Parent)
	if err != nil {
		return fmt.Errorf("parent interface %s: %w", c.Parent, err)
	}
	err = l.route.CreateChild(netlink.Child{Kind: c.Kind, Mode: c.Mode, Flags: c.Flags, Parent: parent.Index, MTU: c.MTU,
		Name: c.Inside.Interface, MAC: c.Inside.MAC, Namespace: ns})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return errdefs.FailedPrecondition("this kernel has no %s (modprobe %s): %w", c.Kind, c.Kind, err)
	case errors.Is(err, unix.EBUSY):
		return errdefs.Conflict("parent interface %s is in use otherwise (as a bridge's port, or by ipvlan beside macvlan): %w", c.Parent, err)
	case err != nil:
		return fmt.Errorf("create %s %s on %s: %w", c.Kind, c.Inside.Interface, c.Parent, err)
	}
	if err := configureInside(c.Inside, ns); err != nil {
		return errors.Join(fmt.Errorf("configure %s inside: %w", c.Inside.Interface, err), l.DeleteInside(c.Inside.Interface, ns))
	}
	return nil
}

// Supports tells whether the kernel can make interfaces of a kind, by making one on the loopback interface of a namespace that
// goes at once: macvlan and ipvlan refuse it there with another error than for a kind that they do not have.
func (l *Links) Supports(kind string) bool {
	ns, err := NewNamespace()
	if err != nil {
		return true // let the real attempt tell
	}
	defer func() { _ = ns.Close() }()
	err = netlink.In(ns, func() error {
		s, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		return s.CreateChild(netlink.Child{Kind: kind, Mode: 1, Parent: 1, Name: "probe", Namespace: ns})
	})
	return !errors.Is(err, unix.EOPNOTSUPP)
}

// DeleteInside removes an interface of a container's namespace; a missing one is no error.
func (l *Links) DeleteInside(name string, ns *os.File) error {
	return netlink.In(ns, func() error {
		s, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		if err := s.Delete(name); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("delete link %s: %w", name, err)
		}
		return nil
	})
}
