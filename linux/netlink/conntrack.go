package netlink

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Values of linux/netfilter/nfnetlink_conntrack.h and of net/netfilter/nf_internals.h (the filter's flags), which
// x/sys/unix does not name.
const (
	sizeofFilterMessage = 4 // struct nfgenmsg

	ctMessageGet    = 1 // IPCTNL_MSG_CT_GET
	ctMessageDelete = 2 // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaID         = 12
	ctaFilter     = 25
	ctaStatusMask = 26

	statusSourceNAT = 1 << 4 // IPS_SRC_NAT

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Source = 1
	ctaIPv4Dest   = 2
	ctaIPv6Source = 3
	ctaIPv6Dest   = 4
	ctaProtoNum   = 1
	ctaDestPort   = 3

	ctaFilterOrig  = 1
	ctaFilterReply = 2

	filterIPSource = 1 << 0
	filterIPDest   = 1 << 1
	filterProto    = 1 << 3
	filterDestPort = 1 << 5
)

// Flows selects entries of connection tracking. Zero fields match everything, but Proto must be set.
type Flows struct {
	Proto uint8          // IPPROTO_UDP
	To    netip.AddrPort // what the first packet was sent to, before any translation
	From  netip.Addr     // where the first packet came from
	Reply netip.Addr     // where the answers come from: a published container's own address
	// Unmasked leaves flows alone whose source was rewritten: what containers send to that port elsewhere.
	Unmasked bool
}

// DeleteFlows removes the selected entries, so that the next packet of each flow is judged and translated anew.
// The kernel filters and deletes in one pass over its table (since 6.8). From an older one comes a list of the
// candidates, which are then deleted one by one; that pass is ten times as slow, because it locks every bucket.
func (s *Socket) DeleteFlows(f Flows) error {
	err := s.do(f.message(ctMessageDelete))
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	var all []*message
	err = s.get(f.message(ctMessageGet), unix.NLM_F_DUMP, func(_ uint16, b []byte) {
		if flow, ok := parseFlow(b); ok && f.selects(flow) {
			all = append(all, newConntrack(ctMessageDelete, f.family()).attr(ctaTupleOrig|unix.NLA_F_NESTED, flow.tuple).attr(ctaID, flow.id))
		}
	})
	if err != nil {
		return err
	}
	for _, m := range all {
		if err := s.do(m); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// flow is what DeleteFlows needs of one entry.
type flow struct {
	proto     uint8
	status    uint32
	from      netip.Addr
	to        netip.AddrPort
	reply     netip.Addr
	tuple, id []byte // as the kernel wants them back
}

func (f Flows) selects(x flow) bool {
	return x.proto == f.Proto &&
		(f.To.Port() == 0 || x.to.Port() == f.To.Port()) &&
		(!f.To.Addr().IsValid() || f.To.Addr().IsUnspecified() || x.to.Addr() == f.To.Addr()) &&
		(!f.Unmasked || x.status&statusSourceNAT == 0) &&
		(!f.From.IsValid() || x.from == f.From) &&
		(!f.Reply.IsValid() || x.reply == f.Reply)
}

func parseFlow(b []byte) (flow, bool) {
	var x flow
	if len(b) < sizeofFilterMessage {
		return x, false
	}
	for kind, v := range attributes(b[sizeofFilterMessage:]) {
		switch kind {
		case ctaTupleOrig:
			var to netip.Addr
			var port uint16
			x.tuple = append([]byte(nil), v...)
			x.proto, x.from, to, port = parseTuple(v)
			x.to = netip.AddrPortFrom(to, port)
		case ctaTupleReply:
			_, x.reply, _, _ = parseTuple(v)
		case ctaStatus:
			if len(v) == 4 {
				x.status = binary.BigEndian.Uint32(v)
			}
		case ctaID:
			x.id = append([]byte(nil), v...)
		}
	}
	return x, x.tuple != nil && x.id != nil
}

func parseTuple(b []byte) (proto uint8, source, destination netip.Addr, port uint16) {
	for kind, v := range attributes(b) {
		for inner, v := range attributes(v) {
			switch {
			case kind == ctaTupleIP && (inner == ctaIPv4Source || inner == ctaIPv6Source):
				source, _ = netip.AddrFromSlice(v)
			case kind == ctaTupleIP && (inner == ctaIPv4Dest || inner == ctaIPv6Dest):
				destination, _ = netip.AddrFromSlice(v)
			case kind == ctaTupleProto && inner == ctaProtoNum && len(v) == 1:
				proto = v[0]
			case kind == ctaTupleProto && inner == ctaDestPort && len(v) == 2:
				port = binary.BigEndian.Uint16(v)
			}
		}
	}
	return proto, source, destination, port
}

func newConntrack(kind uint16, family uint8) *message {
	// struct nfgenmsg: family, version 0, resource id 0.
	return newMessage(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, 0).raw(family, 0, 0, 0)
}

// family is that of the addresses, unspecified ones among them.
func (f Flows) family() uint8 {
	for _, a := range []netip.Addr{f.To.Addr(), f.From, f.Reply} {
		if a.IsValid() {
			return family(a)
		}
	}
	return unix.AF_INET
}

// source adds an address as a packet's source, destination as where it goes.
func (m *message) source(a netip.Addr) *message {
	if a.Is4() {
		return m.attr(ctaIPv4Source, a.AsSlice())
	}
	return m.attr(ctaIPv6Source, a.AsSlice())
}

func (m *message) destination(a netip.Addr) *message {
	if a.Is4() {
		return m.attr(ctaIPv4Dest, a.AsSlice())
	}
	return m.attr(ctaIPv6Dest, a.AsSlice())
}

func (f Flows) message(kind uint16) *message {
	m := newConntrack(kind, f.family())
	orig, reply := uint32(filterProto), uint32(0)
	m.nest(ctaTupleOrig, func() {
		m.nest(ctaTupleIP, func() {
			if f.From.IsValid() {
				orig |= filterIPSource
				m.source(f.From)
			}
			if f.To.IsValid() && !f.To.Addr().IsUnspecified() {
				orig |= filterIPDest
				m.destination(f.To.Addr())
			}
		})
		m.nest(ctaTupleProto, func() {
			m.u8(ctaProtoNum, f.Proto)
			if f.To.Port() != 0 {
				orig |= filterDestPort
				m.attr(ctaDestPort, binary.BigEndian.AppendUint16(nil, f.To.Port()))
			}
		})
	})
	if f.Reply.IsValid() {
		reply = filterProto | filterIPSource
		m.nest(ctaTupleReply, func() {
			m.nest(ctaTupleIP, func() { m.source(f.Reply) })
			m.nest(ctaTupleProto, func() { m.u8(ctaProtoNum, f.Proto) })
		})
	}
	if f.Unmasked {
		m.be32(ctaStatus, 0).be32(ctaStatusMask, statusSourceNAT)
	}
	return m.nest(ctaFilter, func() {
		m.u32(ctaFilterOrig, orig)
		m.u32(ctaFilterReply, reply)
	})
}
