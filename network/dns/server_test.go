package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/conex-containers/conex/network/bridge"
)

// book is a set of names that every container knows.
type book map[string][]netip.Addr

func (b book) Addresses(_, name string) ([]netip.Addr, bool) { a, ok := b[name]; return a, ok }

func (b book) Name(_ string, at netip.Addr) string {
	for name, all := range b {
		for _, a := range all {
			if a == at {
				return name + ".net"
			}
		}
	}
	return ""
}

// upstream is a resolver on the host's loopback.
func upstream(t testing.TB, answer func(a *dns.Msg)) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	asked := &atomic.Int64{}
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: c, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		a := new(dns.Msg).SetReply(q)
		answer(a)
		_ = w.WriteMsg(a)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), asked
}

// resolver opens a container's resolver in a namespace of its own, and asks it from there.
func resolver(t testing.TB, names Names, up Upstream) (*Server, func(q *dns.Msg) *dns.Msg) {
	t.Helper()
	ns, err := bridge.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	s := New(names, slog.New(slog.DiscardHandler))
	if err := s.Open("c", ns, up); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close("c"); _ = ns.Close() })
	conn := dialIn(t, ns)
	return s, func(q *dns.Msg) *dns.Msg {
		t.Helper()
		a, _, err := (&dns.Client{Timeout: 10 * time.Second}).ExchangeWithConn(q, &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize})
		if err != nil {
			t.Fatalf("%v: %v", q.Question, err)
		}
		return a
	}
}

func question(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

func TestAnswers(t *testing.T) {
	four, six := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::17")
	_, ask := resolver(t, book{"db": {four, six}, "four": {netip.MustParseAddr("10.1.2.4")}}, Upstream{})
	for _, c := range []struct {
		q    *dns.Msg
		code int
		want string
	}{
		{question("db.", dns.TypeA), dns.RcodeSuccess, "[db.\t600\tIN\tA\t10.1.2.3]"},
		{question("DB.", dns.TypeAAAA), dns.RcodeSuccess, "[DB.\t600\tIN\tAAAA\tfd00::17]"},
		{question("four.", dns.TypeAAAA), dns.RcodeSuccess, "[]"},
		{question("db.", dns.TypeMX), dns.RcodeSuccess, "[]"},
		{question("3.2.1.10.in-addr.arpa.", dns.TypePTR), dns.RcodeSuccess, "[3.2.1.10.in-addr.arpa.\t600\tIN\tPTR\tdb.net.]"},
		{question("7.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR), dns.RcodeSuccess, "[7.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.\t600\tIN\tPTR\tdb.net.]"},
		{question("4.3.2.1.in-addr.arpa.", dns.TypePTR), dns.RcodeRefused, "[]"},
		{question("unknown.", dns.TypeA), dns.RcodeRefused, "[]"},
		{&dns.Msg{MsgHdr: dns.MsgHdr{Id: 1}}, dns.RcodeFormatError, "[]"},
		{&dns.Msg{MsgHdr: dns.MsgHdr{Id: 1, Opcode: dns.OpcodeUpdate}, Question: question("db.", dns.TypeA).Question}, dns.RcodeNotImplemented, "[]"},
	} {
		a := ask(c.q)
		if got := fmt.Sprint(a.Answer); a.Rcode != c.code || got != c.want {
			t.Errorf("%v: %s %s, want %s %s", c.q.Question, dns.RcodeToString[a.Rcode], got, dns.RcodeToString[c.code], c.want)
		}
	}
}

// What resolvers say is remembered for as long as its records may be, with what is left of it.
func TestCache(t *testing.T) {
	ttl := uint32(60)
	at, asked := upstream(t, func(a *dns.Msg) {
		switch a.Question[0].Name {
		case "gone.":
			a.Rcode = dns.RcodeNameError
			a.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl}, Ns: ".", Mbox: ".", Minttl: ttl}}
		case "fails.":
			a.Rcode = dns.RcodeServerFailure
		default:
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: a.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.IPv4(192, 0, 2, 1)}}
		}
	})
	s, ask := resolver(t, book{}, Upstream{Servers: []netip.AddrPort{at}})
	times := func(name string, n int) int64 {
		before := asked.Load()
		for range n {
			ask(question(name, dns.TypeA))
		}
		return asked.Load() - before
	}
	if n := times("kept.", 10); n != 1 {
		t.Errorf("an answer for a minute was asked for %d times", n)
	}
	if n := times("gone.", 10); n != 1 {
		t.Errorf("the word that there is none was asked for %d times", n)
	}
	if n := times("fails.", 3); n != 3 {
		t.Errorf("a failure was remembered: asked %d times of 3", n)
	}
	for i := range 3 * maxAnswers {
		s.cache.put(fmt.Sprint(i), ask(question("kept.", dns.TypeA)))
	}
	if n := len(s.cache.answers); n > maxAnswers {
		t.Errorf("%d answers are kept", n)
	}
	ttl = 0
	if n := times("never.", 3); n != 3 {
		t.Errorf("an answer that may not be kept was asked for %d times of 3", n)
	}
}

// A resolver that does not answer or knows nothing is followed by the next.
func TestNextResolver(t *testing.T) {
	bad, _ := upstream(t, func(a *dns.Msg) { a.Rcode = dns.RcodeRefused })
	good, _ := upstream(t, func(a *dns.Msg) {
		a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: a.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(192, 0, 2, 1)}}
	})
	closed := netip.MustParseAddrPort("127.0.0.1:1")
	_, ask := resolver(t, book{}, Upstream{Servers: []netip.AddrPort{closed, bad, good}})
	if a := ask(question("x.", dns.TypeA)); len(a.Answer) != 1 {
		t.Errorf("%v", a)
	}
	_, ask = resolver(t, book{}, Upstream{Servers: []netip.AddrPort{closed, bad}})
	if a := ask(question("x.", dns.TypeA)); a.Rcode != dns.RcodeRefused {
		t.Errorf("%v", a)
	}
}

// Long lists fit into what the asker takes, or say that they do not.
func TestLongAnswers(t *testing.T) {
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	_, ask := resolver(t, book{"many": many}, Upstream{})
	q := question("many.", dns.TypeA)
	if a := ask(q); !a.Truncated || len(a.Answer) == 200 {
		t.Errorf("truncated %v, %d bytes", a.Truncated, a.Len())
	}
	q.SetEdns0(4096, false)
	if a := ask(q); a.Truncated || len(a.Answer) != 200 {
		t.Errorf("truncated %v, %d answers", a.Truncated, len(a.Answer))
	}
}

func BenchmarkAnswer(b *testing.B) {
	_, ask := resolver(b, book{"db": {netip.MustParseAddr("10.1.2.3")}}, Upstream{})
	for b.Loop() {
		ask(question("db.", dns.TypeA))
	}
}
