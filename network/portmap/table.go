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
	"sync"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// Port asks for a host port.
type Port struct {
	Proto string     // "tcp" or "udp"
	Addr  netip.Addr // IPv4; unspecified for every address
	First uint16     // 0: any free one of the ephemeral range
	Last  uint16     // the first free one of First..Last; 0: First alone
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
	for port := p.First; ; port++ {
		got, fd, err := t.bind(p, port)
		if err == nil {
			t.add(owner, key{p.Proto, got}, p.Addr, fd)
			return got, nil
		}
		if port >= last || !errdefs.IsConflict(err) {
			if p.Last > p.First {
				return 0, errdefs.Conflict("all ports of %s:%d-%d/%s are in use; last: %w", p.Addr, p.First, p.Last, p.Proto, err)
			}
			return 0, err
		}
	}
}

// HoldAgain enters a port that the owner held before a restart of the daemon. The port counts as the owner's even
// when another program has bound it meanwhile; that is the error.
func (t *Table) HoldAgain(owner Owner, p Port) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, fd, err := t.bind(p, p.First)
	if err != nil {
		fd = -1
	}
	t.add(owner, key{p.Proto, p.First}, p.Addr, fd)
	return err
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
func (t *Table) bind(p Port, port uint16) (uint16, int, error) {
	for _, h := range t.held[key{p.Proto, port}] {
		if port != 0 && (h.addr == p.Addr || h.addr.IsUnspecified() || p.Addr.IsUnspecified()) {
			return 0, -1, errdefs.Conflict("Bind for %s:%d failed: port is already allocated by container %s",
				p.Addr, port, h.owner.Name)
		}
	}
	fd, err := bindSocket(p.Proto, p.Addr, port)
	switch {
	case errors.Is(err, unix.EADDRINUSE) && port == 0:
		return 0, -1, errdefs.With(errdefs.ErrResourceExhausted, fmt.Errorf(
			"no free %s port left in net.ipv4.ip_local_port_range: publish fewer ports or widen the range", p.Proto))
	case errors.Is(err, unix.EADDRINUSE):
		return 0, -1, errdefs.Conflict("failed to bind host port %s:%d/%s: %w", p.Addr, port, p.Proto, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return 0, -1, errdefs.InvalidArgument("failed to bind host port %s:%d/%s: the host has no address %s: %w",
			p.Addr, port, p.Proto, p.Addr, err)
	case err != nil:
		return 0, -1, fmt.Errorf("failed to bind host port %s:%d/%s: %w", p.Addr, port, p.Proto, err)
	}
	if port == 0 {
		name, err := unix.Getsockname(fd)
		in, ok := name.(*unix.SockaddrInet4)
		if err != nil || !ok {
			_ = unix.Close(fd)
			return 0, -1, fmt.Errorf("bound %s port: %w", p.Proto, err)
		}
		port = uint16(in.Port)
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
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	sa := &unix.SockaddrInet4{Port: int(port), Addr: addr.As4()}
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
