package procfs

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Listener is a socket that waits for others: a TCP one that listens, a UDP one that is connected to nobody.
type Listener struct {
	Proto string // tcp, udp
	Addr  netip.AddrPort
}

// The states of /proc/net/tcp and udp that wait: TCP_LISTEN, and TCP_CLOSE, which an unconnected UDP socket is in.
const (
	stateListen = 0x0a
	stateClose  = 0x07
)

// Listeners lists the waiting sockets of the process's network namespace, whoever holds them.
func (p *Process) Listeners() ([]Listener, error) {
	var out []Listener
	for _, table := range []struct {
		name, proto string
		state       uint64
	}{{"tcp", "tcp", stateListen}, {"tcp6", "tcp", stateListen}, {"udp", "udp", stateClose}, {"udp6", "udp", stateClose}} {
		b, err := p.read("net/" + table.name)
		if err != nil {
			if p.exists() {
				continue // a kernel without IPv6
			}
			return nil, err
		}
		_, rows, _ := strings.Cut(string(b), "\n")
		for line := range strings.Lines(rows) {
			addr, state, err := parseSocket(line)
			if err != nil {
				return nil, fmt.Errorf("process %d: net/%s: %w", p.pid, table.name, err)
			}
			if l := (Listener{Proto: table.proto, Addr: addr}); state == table.state && !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
	}
	slices.SortFunc(out, func(a, b Listener) int {
		if a.Proto != b.Proto {
			return strings.Compare(a.Proto, b.Proto)
		}
		return a.Addr.Compare(b.Addr)
	})
	return out, nil
}

// parseSocket reads "  0: 0100007F:1F90 00000000:0000 0A ...": the address is words of four bytes in the machine's order.
func parseSocket(line string) (netip.AddrPort, uint64, error) {
	f := strings.Fields(line)
	if len(f) < 4 {
		return netip.AddrPort{}, 0, fmt.Errorf("line %q is too short", line)
	}
	host, port, _ := strings.Cut(f[1], ":")
	b, err := hex.DecodeString(host)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, 0, fmt.Errorf("address %q", f[1])
	}
	for w := b; len(w) > 0; w = w[4:] {
		binary.BigEndian.PutUint32(w, binary.NativeEndian.Uint32(w))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, 0, fmt.Errorf("port %q", f[1])
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err != nil {
		return netip.AddrPort{}, 0, fmt.Errorf("state %q", f[3])
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(n)), state, nil
}
