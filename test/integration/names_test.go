package integration

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/conex-containers/conex/test/rig"
)

// nameServer answers on port 53 of all addresses of the test's host: known.example has an address and a long text.
func nameServer(t *testing.T) (asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		a := new(dns.Msg).SetReply(q)
		header := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 60}
		switch {
		case q.Question[0].Name != "known.example.":
			a.Rcode = dns.RcodeNameError
		case header.Rrtype == dns.TypeA:
			a.Answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(192, 0, 2, 7)}}
		case header.Rrtype == dns.TypeTXT:
			a.Answer = []dns.RR{&dns.TXT{Hdr: header, Txt: []string{strings.Repeat("long ", 50), strings.Repeat("text ", 50), strings.Repeat("more ", 50)}}}
		}
		if len(a.Answer) == 0 {
			a.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: ".", Mbox: ".", Minttl: 60}}
		}
		if w.LocalAddr().Network() == "udp" {
			a.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(a)
	})
	packets, err := net.ListenPacket("udp4", ":53")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", ":53")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: answer}, {Listener: listener, Handler: answer}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return asked
}

// Containers of a network find each other by name, alias, short id and hostname; others do not; the rest is forwarded.
func TestNames(t *testing.T) {
	asked := nameServer(t)
	other := rig.NewHost(t, 1)
	e, busybox := withBusybox(t, "--dns", other.Peer)
	e.Docker("network", "create", "shop").OK()
	e.Docker("network", "create", "back").OK()
	e.Docker("network", "create", "--internal", "closed").OK()
	db := e.Docker("run", "-d", "--name", "db", "--network", "shop", "--network-alias", "Database", "-h", "dbhost", busybox, "sleep", "1000").OK().Trim()
	for _, n := range []string{"web1", "web2", "web3"} {
		e.Docker("run", "-d", "--name", n, "--network", "shop", "--network-alias", "web", busybox, "sleep", "1000").OK()
	}
	e.Docker("run", "-d", "--name", "far", "--network", "back", busybox, "sleep", "1000").OK()
	e.Docker("run", "-d", "--name", "alone", "--network", "closed", busybox, "sleep", "1000").OK()
	e.Docker("run", "-d", "--name", "plain", busybox, "sleep", "1000").OK()
	address := func(container, network string) string {
		return e.Docker("inspect", "-f", `{{(index .NetworkSettings.Networks "`+network+`").IPAddress}}`, container).OK().Trim()
	}
	resolve := func(in, name string) string { return e.Docker("exec", in, "probe", "resolve", name).Trim() }

	e.Docker("exec", "web1", "cat", "/etc/resolv.conf").OK().Says("nameserver 127.0.0.11").Says("ndots:0")
	for _, name := range []string{"db", "DB", "database", "dbhost", db[:12], "db.shop", "database.shop"} {
		if got := resolve("web1", name); got != address("db", "shop") {
			t.Errorf("%s is %q", name, got)
		}
	}
	if got := e.Docker("exec", "web1", "probe", "reverse", address("db", "shop")).OK().Trim(); got != "db.shop." {
		t.Errorf("the address of db is called %q", got)
	}
	// A service of three: all addresses, each of them first from time to time.
	first := map[string]bool{}
	for range 60 {
		all := strings.Fields(resolve("db", "web"))
		if len(all) != 3 {
			t.Fatalf("web is %q", all)
		}
		first[all[0]] = true
	}
	if len(first) != 3 {
		t.Errorf("only %d of 3 addresses were first", len(first))
	}
	before := asked.Load()
	for _, c := range []string{"far", "plain", "alone"} {
		if got := resolve(c, "db"); got != "" {
			t.Errorf("%s, on another network, finds db at %q", c, got)
		}
	}
	if asked.Load() == before {
		t.Error("a name that no network knows was not forwarded")
	}
	// Everything else comes from the resolver, over UDP and, when it is long, TCP; the second time from memory.
	if got := resolve("web1", "known.example"); got != "192.0.2.7" {
		t.Errorf("known.example is %q", got)
	}
	before = asked.Load()
	for range 20 {
		resolve("web1", "known.example")
	}
	if n := asked.Load() - before; n > 3 {
		t.Errorf("%d of 20 repeated questions went out", n)
	}
	for _, by := range []string{"udp", "tcp"} {
		if r := e.Docker("exec", "web1", "probe", "text", by, "known.example"); by == "tcp" && !strings.Contains(r.Out, "more more") {
			t.Errorf("a long text by %s: %s %s", by, r.Out, r.Err)
		}
	}
	e.Docker("exec", "web1", "probe", "resolve", "missing.example").Exits(1).Says("no such host")
	e.Docker("exec", "alone", "probe", "resolve", "known.example").Exits(1)

	// Networks change while containers run; names follow, also through a rename and a crash of the daemon.
	e.Docker("network", "connect", "--alias", "visitor", "shop", "far").OK()
	if got := resolve("db", "visitor"); got != address("far", "shop") {
		t.Errorf("visitor is %q", got)
	}
	if got := resolve("far", "db"); got != address("db", "shop") {
		t.Errorf("after the connection db is %q", got)
	}
	e.Docker("network", "connect", "shop", "plain").OK()
	if got := resolve("plain", "db"); got != address("db", "shop") {
		t.Errorf("from the default bridge db is %q", got)
	}
	e.Docker("rename", "db", "store").OK()
	if got := resolve("web1", "store") + resolve("web1", "db"); got != address("store", "shop") {
		t.Errorf("after the rename: %q", got)
	}
	e.Kill9()
	e.Run()
	rig.Eventually(t, 5*time.Second, "names are known after a crash", func() bool { return resolve("web1", "store") == address("store", "shop") })
	if got := resolve("far", "database"); got != address("store", "shop") {
		t.Errorf("after the crash database is %q", got)
	}
	e.Docker("network", "disconnect", "shop", "far").OK()
	if got := resolve("db", "visitor") + resolve("store", "visitor"); got != "" {
		t.Errorf("after the disconnection visitor is %q", got)
	}
	e.Docker("rm", "-f", "web2").OK()
	if all := strings.Fields(resolve("store", "web")); len(all) != 2 {
		t.Errorf("of two web is %q", all)
	}
	// Port 53 stays the container's own.
	e.Docker("run", "--rm", "--network", "shop", busybox, "sh", "-c", "probe udp-echo :53 & usleep 100000; echo x | nc -u -w 1 127.0.0.1 53 & probe resolve store").OK().Says(address("store", "shop"))
}
