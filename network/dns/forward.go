package dns

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/conex-containers/conex/linux/netlink"
)

const (
	// ednsSize is what we say that we take in one datagram (RFC 6891 section 6.2.5, DNS flag day 2020).
	ednsSize = 1232
	// askBound is how long one resolver has to answer before the next is asked.
	askBound = 3 * time.Second
)

// ask gets a question answered by the container's resolvers, one after the other.
func (b *box) ask(q *dns.Msg, network string) *dns.Msg {
	b.mu.Lock()
	up := b.upstream
	b.mu.Unlock()
	if len(up.Servers) == 0 {
		return failure(q, dns.RcodeRefused)
	}
	key := keyOf(q, network, up, b.container)
	if a := b.server.cache.get(key, q); a != nil {
		return a
	}
	select {
	case b.server.forward <- struct{}{}:
		defer func() { <-b.server.forward }()
	default:
		return failure(q, dns.RcodeServerFailure)
	}
	var last *dns.Msg
	for _, server := range up.Servers {
		a, err := b.exchange(q, network, server, up.Inside)
		if err != nil {
			if b.ctx.Err() != nil {
				break
			}
			continue
		}
		if a.Rcode == dns.RcodeServerFailure || a.Rcode == dns.RcodeRefused || a.Rcode == dns.RcodeNotImplemented {
			last = a // another resolver may know better
			continue
		}
		b.server.cache.put(key, a)
		a.Id = q.Id
		return a
	}
	if last != nil {
		last.Id = q.Id
		return last
	}
	return failure(q, dns.RcodeServerFailure)
}

// exchange asks one resolver, from a port and with an id that nobody can foresee.
func (b *box) exchange(q *dns.Msg, network string, server netip.AddrPort, inside bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(b.ctx, askBound)
	defer cancel()
	var conn net.Conn
	dial := func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, server.String())
		return err
	}
	var err error
	if inside {
		// A socket belongs to the namespace of the thread that makes it, and for a literal address the dialler makes it
		// on its caller's.
		err = netlink.In(b.netns, dial)
	} else {
		err = dial()
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	question := q.Copy()
	question.Id = dns.Id()
	client := dns.Client{Net: network, UDPSize: dns.MaxMsgSize}
	a, _, err := client.ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize})
	return a, err
}
