package dns

import (
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ttl is how many seconds a container may remember another's address: as Docker's, which clients are used to.
const ttl = 600

// answer answers what the networks know, or what cannot be asked; nil for a question that goes on to a resolver.
func (b *box) answer(q *dns.Msg) *dns.Msg {
	if q.Opcode != dns.OpcodeQuery {
		return failure(q, dns.RcodeNotImplemented)
	}
	if len(q.Question) != 1 {
		return failure(q, dns.RcodeFormatError)
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	if question.Qtype == dns.TypePTR {
		return b.pointer(q, name)
	}
	addresses, known := b.server.names.Addresses(b.container, name)
	if !known {
		return nil
	}
	a := reply(q)
	// A name that exists has no other records: an empty answer, and not the word of a resolver outside.
	for _, at := range addresses {
		header := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case question.Qtype == dns.TypeA && at.Is4():
			a.Answer = append(a.Answer, &dns.A{Hdr: header, A: at.AsSlice()})
		case question.Qtype == dns.TypeAAAA && at.Is6():
			a.Answer = append(a.Answer, &dns.AAAA{Hdr: header, AAAA: at.AsSlice()})
		}
	}
	// Each of several in turn is the first: who takes the first spreads its connections.
	rand.Shuffle(len(a.Answer), func(i, j int) { a.Answer[i], a.Answer[j] = a.Answer[j], a.Answer[i] })
	return a
}

// pointer answers what an address is called.
func (b *box) pointer(q *dns.Msg, name string) *dns.Msg {
	at, ok := reverse(name)
	if !ok {
		return nil
	}
	found := b.server.names.Name(b.container, at)
	if found == "" {
		return nil
	}
	a := reply(q)
	a.Answer = []dns.RR{&dns.PTR{
		Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}, Ptr: dns.Fqdn(found),
	}}
	return a
}

// reverse reads the address in a name below in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5).
func reverse(name string) (netip.Addr, bool) {
	if text, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(text, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		var b [4]byte
		for i, p := range parts {
			n, err := strconv.ParseUint(p, 10, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			b[3-i] = byte(n)
		}
		return netip.AddrFrom4(b), true
	}
	text, ok := strings.CutSuffix(name, ".ip6.arpa")
	parts := strings.Split(text, ".")
	if !ok || len(parts) != 32 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 4)
		if err != nil || len(p) != 1 {
			return netip.Addr{}, false
		}
		at := 31 - i
		b[at/2] |= byte(n) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(b), true
}

func reply(q *dns.Msg) *dns.Msg {
	a := new(dns.Msg).SetReply(q)
	a.RecursionAvailable = true
	if opt := q.IsEdns0(); opt != nil {
		a.SetEdns0(ednsSize, false)
	}
	return a
}

func failure(q *dns.Msg, code int) *dns.Msg {
	a := new(dns.Msg).SetRcode(q, code)
	a.RecursionAvailable = true
	return a
}
