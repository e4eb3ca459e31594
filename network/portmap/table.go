// Package portmap holds the host ports of published containers: each by a bound socket, so that nobody else takes
// the port and a port in use is refused at once.
//
// The sockets never see a packet: nftables rewrites the destination before the kernel looks for a socket. A TCP
// socket is bound but does not listen; what comes past the firewall is refused as on a closed port.
package portmap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Port asks for a host port.
type Port struct {
	Proto string       // "tcp" or "udp"
	Addrs []netip.Addr // on each of them, under one number; unspecified for every address of its family
	First uint16       // 0: any free one of the ephemeral range
	Last  uint16       // the first free one of First..Last; 0: First alone
}

// Owner is who holds a port.
type Owner struct {
	ID   string // what Release is called with
	Name string // for messages: the container's name
}

type key struct {
	proto string
	port  uint16
}

type holding struct {
	owner Owner
	addr  netip.Addr
	fd    int // -1 when the port could not be bound again after a restart
}

// Table is the set of held ports. Safe for concurrent use.
type Table struct {
	mu     sync.Mutex
	held   map[key][]holding
	owners map[string][]key
}

// New returns an empty table.
func New() *Table { return &Table{held: map[key][]holding{}, owners: map[string][]key{}} }

// Hold binds the port for the owner and returns its number. A port that another owner or another program has is
// ErrConflict, with Docker's words.
func (t *Table) Hold(owner Owner, p Port) (uint16, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := max(p.First, p.Last)
	for port, again := p.First, 0; ; port++ {
		got, fds, err := t.bindAll(p, port)
		if err == nil {
			for i, fd := range fds {
				t.add(owner, key{p.Proto, got}, p.Addrs[i], fd)
			}
			return got, nil
		}
		if p.First == 0 && len(p.Addrs) > 1 && errdefs.IsConflict(err) && again < tries {
			port, again = port-1, again+1 // what is free on one address is taken on the other
			continue
		}
		if port >= last || !errdefs.IsConflict(err) {
			if p.Last > p.First {
				return 0, errdefs.Conflict("all ports of %s:%d-%d/%s are in use; last: %w", p.Addrs[0], p.First, p.Last, p.Proto, err)
			}
			return 0, err
		}
	}
}

// tries bounds how often the kernel is asked for a number that is free on all addresses.
const tries = 100

// bindAll takes one number on all addresses, or on none.
func (t *Table) bindAll(p Port, port uint16) (uint16, []int, error) {
	fds := make([]int, 0, len(p.Addrs))
	for _, a := range p.Addrs {
		got, fd, err := t.bind(p.Proto, a, port)
		if err != nil {
			for _, fd := range fds {
				_ = unix.Close(fd)
			}
			return 0, nil, err
		}
		port, fds = got, append(fds, fd)
	}
	return port, fds, nil
}

// HoldAgain enters a port that the owner held before a restart of the daemon. The port counts as the owner's even
// when another program has bound it meanwhile; that is the error.
func (t *Table) HoldAgain(owner Owner, p Port) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed error
	for _, a := range p.Addrs {
		_, fd, err := t.bind(p.Proto, a, p.First)
		if err != nil {
			fd, failed = -1, err
		}
		t.add(owner, key{p.Proto, p.First}, a, fd)
	}
	return failed
}

func (t *Table) add(owner Owner, k key, addr netip.Addr, fd int) {
	t.held[k] = append(t.held[k], holding{owner: owner, addr: addr, fd: fd})
	t.owners[owner.ID] = append(t.owners[owner.ID], k)
}

// Release lets go of all that the owner holds.
func (t *Table) Release(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.owners[id] {
		var keep []holding
		for _, h := range t.held[k] {
			if h.owner.ID != id {
				keep = append(keep, h)
			} else if h.fd >= 0 {
				_ = unix.Close(h.fd)
			}
		}
		if t.held[k] = keep; len(keep) == 0 {
			delete(t.held, k)
		}
	}
	delete(t.owners, id)
}

// ReleasePort lets go of one port that the owner holds.
func (t *Table) ReleasePort(id, proto string, addr netip.Addr, port uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := key{proto, port}
	list := t.held[k]
	i := slices.IndexFunc(list, func(h holding) bool { return h.owner.ID == id && h.addr == addr })
	if i < 0 {
		return
	}
	if list[i].fd >= 0 {
		_ = unix.Close(list[i].fd)
	}
	if t.held[k] = slices.Delete(list, i, i+1); len(t.held[k]) == 0 {
		delete(t.held, k)
	}
	if at := slices.Index(t.owners[id], k); at >= 0 {
		t.owners[id] = slices.Delete(t.owners[id], at, at+1)
	}
}

// Close lets go of everything.
func (t *Table) Close() {
	t.mu.Lock()
	ids := make([]string, 0, len(t.owners))
	for id := range t.owners {
		ids = append(ids, id)
	}
	t.mu.Unlock()
	for _, id := range ids {
		t.Release(id)
	}
}

// Len counts the held ports.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, h := range t.held {
		n += len(h)
	}
	return n
}

// bind takes one port number: first by our own table, which knows names, then by the kernel's.
func (t *Table) bind(proto string, addr netip.Addr, port uint16) (uint16, int, error) {
	for _, h := range t.held[key{proto, port}] {
		if port != 0 && h.addr.Is4() == addr.Is4() && (h.addr == addr || h.addr.IsUnspecified() || addr.IsUnspecified()) {
			return 0, -1, errdefs.Conflict("Bind for %s failed: port is already allocated by container %s",
				netip.AddrPortFrom(addr, port), h.owner.Name)
		}
	}
	fd, err := bindSocket(proto, addr, port)
	at := netip.AddrPortFrom(addr, port)
	switch {
	case errors.Is(err, unix.EADDRINUSE) && port == 0:
		return 0, -1, errdefs.With(errdefs.ErrResourceExhausted, fmt.Errorf(
			"no free %s port left in net.ipv4.ip_local_port_range: publish fewer ports or widen the range", proto))
	case errors.Is(err, unix.EADDRINUSE):
		return 0, -1, errdefs.Conflict("failed to bind host port %s/%s: %w", at, proto, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return 0, -1, errdefs.InvalidArgument("failed to bind host port %s/%s: the host has no address %s: %w", at, proto, addr, err)
	case err != nil:
		return 0, -1, fmt.Errorf("failed to bind host port %s/%s: %w", at, proto, err)
	}
	if port == 0 {
		name, err := unix.Getsockname(fd)
		switch in := name.(type) {
		case *unix.SockaddrInet4:
			port = uint16(in.Port)
		case *unix.SockaddrInet6:
			port = uint16(in.Port)
		}
		if err != nil || port == 0 {
			_ = unix.Close(fd)
			return 0, -1, fmt.Errorf("bound %s port: %w", proto, err)
		}
	}
	return port, fd, nil
}

// bindSocket binds a socket that will never listen or read. Port 0 has the kernel choose from
// net.ipv4.ip_local_port_range.
func bindSocket(proto string, addr netip.Addr, port uint16) (int, error) {
	kind := unix.SOCK_STREAM
	if proto == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, sa, err := newSocket(kind, addr, port)
	if err != nil {
		return -1, err
	}
	err = unix.Bind(fd, sa)
	if errors.Is(err, unix.EADDRINUSE) && kind == unix.SOCK_STREAM && port != 0 {
		// Connections of an earlier server in TIME_WAIT are in the way of a plain bind, not of one with
		// SO_REUSEADDR. The flag is taken off again at once: with it another program could listen on our port.
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
			err = unix.Bind(fd, sa)
		}
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
		}
	}
	if err == nil && kind == unix.SOCK_DGRAM {
		// Datagrams that come past the firewall would pile up: keep room for one.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// newSocket makes a socket of the address's family. One of IPv6 leaves IPv4 alone.
func newSocket(kind int, addr netip.Addr, port uint16) (int, unix.Sockaddr, error) {
	if addr.Is4() {
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
		return fd, &unix.SockaddrInet4{Port: int(port), Addr: addr.As4()}, err
	}
	fd, err := unix.Socket(unix.AF_INET6, kind|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			_ = unix.Close(fd)
		}
	}
	return fd, &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()}, err
}
