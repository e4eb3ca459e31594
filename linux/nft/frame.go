package nft

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What follows is for tables of family bridge.

// EtherType matches frames of one protocol (ETH_P_IP, ETH_P_IPV6, ETH_P_ARP).
func EtherType(kind uint16) Match {
	return metaIs(expr.MetaKeyPROTOCOL, expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, kind))
}

// NotInterfacesIn matches frames that came in by an interface whose name does not begin so.
func NotInterfacesIn(prefix string) Match {
	return metaIs(expr.MetaKeyIIFNAME, expr.CmpOpNeq, []byte(prefix))
}

// InterfaceInSet matches frames that came in by one of a set's interfaces.
func InterfaceInSet(set string) Match {
	return Match{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg0}, &expr.Lookup{SourceRegister: reg0, SetName: set}}
}

// A Claim is where in a frame stands whose it says that it is.
type Claim struct {
	hardware, address     expr.PayloadBase
	hardwareAt, addressAt uint32
	addressLength         uint32
}

// The claims: of the headers of Ethernet and IP; of an ARP packet's sender (RFC 826), once as the packet says it and once by the
// frame that carries it; of the target of a neighbour advertisement (RFC 4861 section 4.4).
var (
	SourceAddress4   = Claim{expr.PayloadBaseLLHeader, expr.PayloadBaseNetworkHeader, 6, 12, 4}
	SourceAddress6   = Claim{expr.PayloadBaseLLHeader, expr.PayloadBaseNetworkHeader, 6, 8, 16}
	ARPSender        = Claim{expr.PayloadBaseNetworkHeader, expr.PayloadBaseNetworkHeader, 8, 14, 4}
	ARPSource        = Claim{expr.PayloadBaseLLHeader, expr.PayloadBaseNetworkHeader, 6, 14, 4}
	AdvertisedTarget = Claim{expr.PayloadBaseLLHeader, expr.PayloadBaseTransportHeader, 6, 8, 16}
)

// Bound matches frames whose interface, hardware address and address are in the set together.
func Bound(set string, c Claim) Match {
	return Match{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg0},
		&expr.Payload{DestRegister: unix.NFT_REG32_04, Base: c.hardware, Offset: c.hardwareAt, Len: 6},
		&expr.Payload{DestRegister: unix.NFT_REG32_06, Base: c.address, Offset: c.addressAt, Len: c.addressLength},
		&expr.Lookup{SourceRegister: reg0, SetName: set},
	}
}

// The types of Bound's sets.
var (
	BoundKey  = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr)
	BoundKey6 = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIP6Addr)
)

// BoundTo is a key of Bound's sets.
func BoundTo(link string, mac net.HardwareAddr, a netip.Addr) []byte {
	key := append(InterfaceKey(link), make([]byte, 8)...)
	copy(key[unix.IFNAMSIZ:], mac)
	return append(key, a.AsSlice()...)
}

// NoSource6 matches IPv6 frames from the unspecified address. (Source asks for the packet's family, which here is that of
// bridges.)
func NoSource6() Match {
	return append(EtherType(unix.ETH_P_IPV6),
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: make([]byte, 16)})
}

// ICMPv6 matches messages of one type.
func ICMPv6(kind uint8) Match {
	return append(metaIs(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{unix.IPPROTO_ICMPV6}),
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{kind}})
}

// Ports matches packets of a protocol from one port to another.
func Ports(proto uint8, from, to uint16) Match {
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	return append(metaIs(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}),
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: ports})
}
