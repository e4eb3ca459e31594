package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Match is part of a rule: a condition or, in the end, what to do.
type Match []expr.Any

// Rule joins matches: all of them must hold.
func Rule(matches ...Match) []expr.Any {
	var all []expr.Any
	for _, m := range matches {
		all = append(all, m...)
	}
	return all
}

// The registers that nft itself would use: 32-bit ones beginning at NFT_REG32_00, which NFT_REG_1 overlays.
const (
	reg0 = unix.NFT_REG_1
	reg1 = unix.NFT_REG32_01
)

// Bits of struct nf_conn's state as `ct state` and `ct status` see them.
const (
	StateEstablished = expr.CtStateBitESTABLISHED
	StateRelated     = expr.CtStateBitRELATED
	statusDNAT       = 1 << 5 // IPS_DST_NAT, linux/netfilter/nf_conntrack_common.h
)

// InterfaceKey is an interface's name as a map key or a comparison holds it.
func InterfaceKey(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func metaIs(key expr.MetaKey, op expr.CmpOp, data []byte) Match {
	return Match{&expr.Meta{Key: key, Register: reg0}, &expr.Cmp{Op: op, Register: reg0, Data: data}}
}

// InterfaceIn matches packets that came in by the interface.
func InterfaceIn(name string) Match {
	return metaIs(expr.MetaKeyIIFNAME, expr.CmpOpEq, InterfaceKey(name))
}

// NotInterfaceIn matches packets that came in by any other interface.
func NotInterfaceIn(name string) Match {
	return metaIs(expr.MetaKeyIIFNAME, expr.CmpOpNeq, InterfaceKey(name))
}

// InterfaceOut matches packets that leave by the interface.
func InterfaceOut(name string) Match {
	return metaIs(expr.MetaKeyOIFNAME, expr.CmpOpEq, InterfaceKey(name))
}

// NotInterfaceOut matches packets that leave by any other interface.
func NotInterfaceOut(name string) Match {
	return metaIs(expr.MetaKeyOIFNAME, expr.CmpOpNeq, InterfaceKey(name))
}

// IPv4 matches IPv4 packets; in a table of family inet it comes before anything that reads an IPv4 header.
func IPv4() Match { return metaIs(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}) }

// IPv6 matches IPv6 packets, as IPv4 does the others.
func IPv6() Match { return metaIs(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV6}) }

// header tells where the address is in the header of a packet of a's family (RFC 791 section 3.1, RFC 8200 section 3).
func header(a netip.Addr) (match Match, source, destination, length uint32) {
	if a.Is4() {
		return IPv4(), 12, 16, 4
	}
	return IPv6(), 8, 24, 16
}

// Source matches packets from the subnet.
func Source(p netip.Prefix) Match {
	match, offset, _, n := header(p.Addr())
	return append(match, addressIn(offset, n, p)...)
}

// Destination matches packets to the subnet.
func Destination(p netip.Prefix) Match {
	match, _, offset, n := header(p.Addr())
	return append(match, addressIn(offset, n, p)...)
}

func addressIn(offset, n uint32, p netip.Prefix) Match {
	mask := make([]byte, n)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return Match{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: n, Mask: mask, Xor: make([]byte, n)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: p.Masked().Addr().AsSlice()},
	}
}

// State matches connections in any of the states.
func State(states uint32) Match { return conntrack(expr.CtKeySTATE, states) }

// Published matches connections whose destination was rewritten.
func Published() Match { return conntrack(expr.CtKeySTATUS, statusDNAT) }

func conntrack(key expr.CtKey, bits uint32) Match {
	return Match{
		&expr.Ct{Key: key, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4,
			Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: make([]byte, 4)},
	}
}

// ToHost matches packets whose destination is one of the host's own addresses.
func ToHost() Match {
	return Match{
		&expr.Fib{Register: reg0, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}
}

func verdict(kind expr.VerdictKind, chain string) Match {
	return Match{&expr.Verdict{Kind: kind, Chain: chain}}
}

// Accept ends the base chain's evaluation in favour of the packet.
func Accept() Match { return verdict(expr.VerdictAccept, "") }

// Drop ends the packet.
func Drop() Match { return verdict(expr.VerdictDrop, "") }

// Jump goes on in the chain and comes back.
func Jump(chain string) Match { return verdict(expr.VerdictJump, chain) }

// DispatchIn does what the verdict map says for the incoming interface.
func DispatchIn(set string) Match { return dispatch(expr.MetaKeyIIFNAME, set) }

// DispatchOut does what the verdict map says for the outgoing interface.
func DispatchOut(set string) Match { return dispatch(expr.MetaKeyOIFNAME, set) }

func dispatch(key expr.MetaKey, set string) Match {
	return Match{
		&expr.Meta{Key: key, Register: reg0},
		&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set},
	}
}

// Masquerade rewrites the source to the outgoing interface's address.
func Masquerade() Match { return Match{&expr.Masq{}} }

// A Family tells the rules and maps of IPv4 from those of IPv6.
type Family uint8

const (
	Four Family = unix.NFPROTO_IPV4
	Six  Family = unix.NFPROTO_IPV6
)

// FamilyOf is an address's.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return Four
	}
	return Six
}

func (f Family) match() Match { return metaIs(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{byte(f)}) }

// after is the register behind an address that begins in the first one: an IPv6 address fills four.
func (f Family) after(n uint32) uint32 {
	if f == Four {
		return reg1 + n
	}
	return unix.NFT_REG32_04 + n
}

// loadDestination reads address, protocol and port of where a packet goes: a key of AddressKey's type.
func (f Family) loadDestination() Match {
	_, _, offset, n := header(netip.IPv4Unspecified())
	if f == Six {
		_, _, offset, n = header(netip.IPv6Unspecified())
	}
	return append(f.match(),
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: f.after(0)},
		&expr.Payload{DestRegister: f.after(1), Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

// TranslateByPort rewrites the destination to what the map holds for (protocol . destination port).
func TranslateByPort(f Family, set string) Match {
	return append(f.match(),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0},
		&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg0, DestRegister: reg0, IsDestRegSet: true, SetName: set},
		f.translate())
}

// TranslateByAddress rewrites the destination to what the map holds for (address . protocol . destination port).
func TranslateByAddress(f Family, set string) Match {
	return append(f.loadDestination(),
		&expr.Lookup{SourceRegister: reg0, DestRegister: reg0, IsDestRegSet: true, SetName: set},
		f.translate())
}

// DestinationIn matches packets whose (address . protocol . destination port) is in the set.
func DestinationIn(f Family, set string) Match {
	return append(f.loadDestination(), &expr.Lookup{SourceRegister: reg0, SetName: set})
}

// translate takes the new address from the first registers and the new port from the next.
func (f Family) translate() *expr.NAT {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f),
		RegAddrMin: reg0, RegAddrMax: reg0, RegProtoMin: f.after(0), RegProtoMax: f.after(0), Specified: true}
}

// The types of the maps above.
var (
	PortKey     = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	AddressKey  = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	TargetData  = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	AddressKey6 = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetProto, nftables.TypeInetService)
	TargetData6 = nftables.MustConcatSetType(nftables.TypeIP6Addr, nftables.TypeInetService)
)

// ProtoPort is a key of TranslateByPort's map: each part padded to four bytes, numbers in network order.
func ProtoPort(proto uint8, port uint16) []byte {
	return append([]byte{proto, 0, 0, 0}, byte(port>>8), byte(port), 0, 0)
}

// AddressProtoPort is a key of TranslateByAddress's map.
func AddressProtoPort(a netip.Addr, proto uint8, port uint16) []byte {
	return append(a.AsSlice(), ProtoPort(proto, port)...)
}

// Target is a value of both maps: the new address and port.
func Target(a netip.Addr, port uint16) []byte {
	return append(a.AsSlice(), byte(port>>8), byte(port), 0, 0)
}

// ParseTarget reads a Target.
func ParseTarget(b []byte) (netip.AddrPort, bool) {
	n := 4
	if len(b) >= 18 {
		n = 16
	}
	if len(b) < n+2 {
		return netip.AddrPort{}, false
	}
	a, ok := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[n:])), ok
}

// ICMP matches ICMP or ICMPv6 packets.
func ICMP(f Family) Match {
	proto := byte(unix.IPPROTO_ICMP)
	if f == Six {
		proto = unix.IPPROTO_ICMPV6
	}
	return append(f.match(), metaIs(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto})...)
}

// To matches IPv4 packets of one protocol to one address and port.
func To(a netip.AddrPort, proto uint8) Match {
	port := binary.BigEndian.AppendUint16(nil, a.Port())
	return append(append(IPv4(), metaIs(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto})...),
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: a.Addr().AsSlice()},
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: port})
}

// Translate rewrites the destination to one address and port.
func Translate(a netip.AddrPort) Match {
	return Match{
		&expr.Immediate{Register: reg0, Data: a.Addr().AsSlice()},
		&expr.Immediate{Register: reg1, Data: binary.BigEndian.AppendUint16(nil, a.Port())},
		FamilyOf(a.Addr()).translate(),
	}
}
