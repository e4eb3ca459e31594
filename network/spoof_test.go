package network_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network"
)

// inject sends a frame from the box's interface, as a program with NET_RAW can.
func (b *box) inject(frame []byte) {
	b.t.Helper()
	must(b.t, netlink.In(b.ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		eth, err := net.InterfaceByName(b.Interface)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: eth.Index, Protocol: 0x0300})
	}))
}

// hears counts the frames of a protocol from a hardware address that arrive at the box while do runs.
func (b *box) hears(kind uint16, from string, do func()) int {
	b.t.Helper()
	var fd int
	must(b.t, netlink.In(b.ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(kind<<8|kind>>8)); err != nil {
			return err
		}
		timeout := unix.NsecToTimeval(int64(200 * time.Millisecond))
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	}))
	defer func() { _ = unix.Close(fd) }()
	do()
	n := 0
	buf := make([]byte, 2048)
	for {
		length, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return n
		}
		if length >= 14 && net.HardwareAddr(buf[6:12]).String() == from && binary.BigEndian.Uint16(buf[12:]) == kind {
			n++
		}
	}
}

func (b *box) mac() net.HardwareAddr {
	mac, err := net.ParseMAC(b.MAC)
	must(b.t, err)
	return mac
}

var everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(to, from net.HardwareAddr, kind uint16, payload []byte) []byte {
	frame := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(frame, kind), payload...)
}

// arp is an answer (RFC 826): sender says that it has the address.
func arp(sender net.HardwareAddr, a netip.Addr, target net.HardwareAddr, at netip.Addr) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	p = append(append(p, sender...), a.AsSlice()...)
	return append(append(p, target...), at.AsSlice()...)
}

func ipv4(proto byte, from, to netip.Addr, payload []byte) []byte {
	p := make([]byte, 20, 20+len(payload))
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(p))
	return append(p, payload...)
}

func ipv6(proto byte, from, to netip.Addr, payload []byte) []byte {
	p := make([]byte, 40, 40+len(payload))
	p[0], p[6], p[7] = 0x60, proto, 255
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	copy(p[8:], from.AsSlice())
	copy(p[24:], to.AsSlice())
	return append(p, payload...)
}

// icmp6 is a message with its checksum (RFC 4443 section 2.3).
func icmp6(from, to netip.Addr, message []byte) []byte {
	pseudo := append(append([]byte{}, from.AsSlice()...), to.AsSlice()...)
	pseudo = append(binary.BigEndian.AppendUint32(pseudo, uint32(len(message))), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))
	return ipv6(58, from, to, message)
}

func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func udp(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	return append(b, 0, 12, 0, 0, 'd', 'h', 'c', 'p')
}

// What a container says in another's name, or as a router or a DHCP server, reaches nobody; what it says of itself does.
func TestSpoofing(t *testing.T) {
	m := newMachine(t)
	both := m.dual("both")
	victim, attacker, friend := m.run(both), m.run(both), m.run(both)
	own, own6, gateway, gateway6 := attacker.Address.Addr(), attacker.Address6.Addr(), both.Subnets[0].Gateway, both.Subnets[1].Gateway
	mac, other := attacker.mac(), friend.mac()
	allNodes := netip.MustParseAddr("ff02::1")
	toAll := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	advertisement := func(target netip.Addr) []byte {
		body := append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
		return icmp6(own6, allNodes, append(append(body, 2, 1), mac...))
	}
	router := append([]byte{134, 0, 0, 0, 64, 0, 0x07, 0x08}, make([]byte, 8)...)
	const four, six, resolution = unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_ARP
	for _, c := range []struct {
		what  string
		kind  uint16
		frame []byte
		from  net.HardwareAddr
		heard int
	}{
		{"ARP: itself", resolution, ethernet(everyone, mac, resolution, arp(mac, own, everyone, victim.Address.Addr())), mac, 1},
		{"ARP: the gateway", resolution, ethernet(everyone, mac, resolution, arp(mac, gateway, everyone, victim.Address.Addr())), mac, 0},
		{"ARP: another container", resolution, ethernet(victim.mac(), mac, resolution, arp(mac, friend.Address.Addr(), victim.mac(), victim.Address.Addr())), mac, 0},
		{"ARP: its address at another's hardware", resolution, ethernet(everyone, mac, resolution, arp(other, own, everyone, victim.Address.Addr())), mac, 0},
		{"ARP: in a frame of another's", resolution, ethernet(everyone, other, resolution, arp(other, friend.Address.Addr(), everyone, victim.Address.Addr())), other, 0},
		{"IPv4: itself", four, ethernet(victim.mac(), mac, four, ipv4(17, own, victim.Address.Addr(), udp(1, 2))), mac, 1},
		{"IPv4: another's address", four, ethernet(victim.mac(), mac, four, ipv4(17, friend.Address.Addr(), victim.Address.Addr(), udp(1, 2))), mac, 0},
		{"IPv4: another's hardware address", four, ethernet(victim.mac(), other, four, ipv4(17, own, victim.Address.Addr(), udp(1, 2))), other, 0},
		{"IPv4: DHCP server", four, ethernet(everyone, mac, four, ipv4(17, own, netip.MustParseAddr("255.255.255.255"), udp(67, 68))), mac, 0},
		{"IPv6: itself", six, ethernet(victim.mac(), mac, six, ipv6(17, own6, victim.Address6.Addr(), udp(1, 2))), mac, 1},
		{"IPv6: another's address", six, ethernet(victim.mac(), mac, six, ipv6(17, friend.Address6.Addr(), victim.Address6.Addr(), udp(1, 2))), mac, 0},
		{"IPv6: DHCP server", six, ethernet(toAll, mac, six, ipv6(17, own6, allNodes, udp(547, 546))), mac, 0},
		{"ND: itself", six, ethernet(toAll, mac, six, advertisement(own6)), mac, 1},
		{"ND: the gateway", six, ethernet(toAll, mac, six, advertisement(gateway6)), mac, 0},
		{"ND: router advertisement", six, ethernet(toAll, mac, six, icmp6(own6, allNodes, router)), mac, 0},
		{"ND: redirect", six, ethernet(toAll, mac, six, icmp6(own6, allNodes, append([]byte{137, 0, 0, 0}, make([]byte, 36)...))), mac, 0},
		{"another protocol", 0x88b5, ethernet(everyone, mac, 0x88b5, make([]byte, 50)), mac, 0},
	} {
		if n := victim.hears(c.kind, c.from.String(), func() { attacker.inject(c.frame) }); n != c.heard {
			t.Errorf("%s: heard %d times, want %d", c.what, n, c.heard)
		}
	}
	for _, b := range []*box{victim, attacker, friend} {
		m.end(b)
	}
	m.clean()
}

// A network whose option allows it has no such guard, and a guard that somebody flushed comes back.
func TestSpoofingAllowed(t *testing.T) {
	m := newMachine(t)
	free := m.dual("free", func(n *network.Network) { n.Spoofing = true })
	a, err := m.tryRun(network.Request{Network: free.ID, Container: string(ids.New())})
	must(t, err)
	b := m.run(free)
	frame := ethernet(everyone, a.mac(), unix.ETH_P_ARP, arp(a.mac(), free.Subnets[0].Gateway, everyone, b.Address.Addr()))
	if n := b.hears(unix.ETH_P_ARP, a.MAC, func() { a.inject(frame) }); n != 1 {
		t.Errorf("heard %d times where spoofing is allowed", n)
	}
	strict := m.dual("strict")
	c, d := m.run(strict), m.run(strict)
	command(t, "nft", "flush", "ruleset")
	m.restart(nil)
	frame = ethernet(everyone, c.mac(), unix.ETH_P_ARP, arp(c.mac(), strict.Subnets[0].Gateway, everyone, d.Address.Addr()))
	if n := d.hears(unix.ETH_P_ARP, c.MAC, func() { c.inject(frame) }); n != 0 {
		t.Errorf("heard %d times after the ruleset was flushed", n)
	}
	if out, err := m.Audit(); err != nil || len(out) > 0 {
		t.Errorf("audit: %v, %s", err, strings.Join(out, "\n"))
	}
}
