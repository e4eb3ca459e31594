package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/linux/namespace"
	"github.com/conex-containers/conex/linux/netlink"
)

// netDevices moves linux.netDevices into the container's network namespace (config-linux.md, Network Devices): each keeps
// its addresses, MTU and hardware address, and is up afterwards. When the create fails they come back; when the container
// ends they go the way of its namespace, as the specification leaves it to them.
func (k *creation) netDevices(_ context.Context, undo *cleanup.Stack) error {
	if len(k.spec.Linux.NetDevices) == 0 {
		return nil
	}
	fd, err := namespace.Of(k.c.rec.Pid, "net")
	if err != nil {
		return err
	}
	k.inside = os.NewFile(uintptr(fd), "netns")
	here, err := netlink.OpenRoute()
	if err != nil {
		return err
	}
	defer func() { _ = here.Close() }()
	for _, name := range slices.Sorted(maps.Keys(k.spec.Linux.NetDevices)) {
		to := k.spec.Linux.NetDevices[name].Name
		if to == "" {
			to = name
		}
		back, err := give(here, name, k.inside, to)
		if err != nil {
			return fmt.Errorf("network device %s: %w", name, err)
		}
		undo.Add(back)
	}
	return nil
}

// give moves one device; back undoes it.
func give(here *netlink.Socket, name string, inside *os.File, to string) (back func(context.Context) error, err error) {
	link, err := here.Link(name)
	if err != nil {
		return nil, fmt.Errorf("link not found for interface %s on runtime namespace: %w", name, err)
	}
	addresses, err := here.LastingAddresses(link.Index)
	if err != nil {
		return nil, err
	}
	if err := free(inside, to); err != nil {
		return nil, err
	}
	if err := here.Move(link.Index, inside, to); err != nil {
		return nil, fmt.Errorf("move to the container as %s: %w", to, err)
	}
	takeBack := func(context.Context) error {
		return errors.Join(retrieve(inside, to, name), restore(name, addresses, link.Up))
	}
	err = netlink.In(inside, func() error { return restore(to, addresses, true) })
	if err != nil {
		return nil, errors.Join(err, takeBack(context.Background()))
	}
	return takeBack, nil
}

// free looks whether the container has an interface of that name: the kernel would move a device whose own name is free
// there first and only then find that the new one is not.
func free(inside *os.File, name string) error {
	return netlink.In(inside, func() error {
		s, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		switch _, err := s.Link(name); {
		case err == nil:
			return fmt.Errorf("the container has a network device %s already: %w", name, unix.EEXIST)
		case errors.Is(err, unix.ENODEV):
			return nil
		default:
			return err
		}
	})
}

// restore gives the device its addresses and brings it up, in the namespace of the calling thread.
func restore(name string, addresses []netip.Prefix, up bool) error {
	s, err := netlink.OpenRoute()
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	link, err := s.Link(name)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if err := s.AddAddress(link.Index, a); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	if !up {
		return nil
	}
	return s.SetUp(name)
}

// retrieve moves the device from the container's namespace to the runtime's.
func retrieve(inside *os.File, name, to string) error {
	home, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	return netlink.In(inside, func() error {
		s, err := netlink.OpenRoute()
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		link, err := s.Link(name)
		if err != nil {
			return err
		}
		return s.Move(link.Index, home, to)
	})
}
