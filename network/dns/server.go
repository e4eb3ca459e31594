// Package dns answers containers' questions for each other's names, on 127.0.0.11 inside their own network
// namespaces, and forwards all others to the resolvers of the host or of the container.
//
//	process ── 127.0.0.11:53 ─(nft, in its namespace)─▶ socket in its namespace, held by the daemon
//	                                                       ├─ a name of its networks ──▶ answered
//	                                                       └─ any other ─▶ cache ─▶ the host's or its own resolvers
//
// The socket is in the container's namespace, so nobody else can ask by it, and what it answers is what that
// container may know. Reference: RFC 1035, RFC 6891 (EDNS).
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/conex-containers/conex/linux/netlink"
	"github.com/conex-containers/conex/network/firewall"
)

// Address is what a container has as its name server.
var Address = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// Names knows who is called what, as one container sees it.
type Names interface {
	// Addresses returns those of a name in lower case without a dot at its end; known is false when nobody has it.
	Addresses(container, name string) (addresses []netip.Addr, known bool)
	// Name returns what the one at the address is called, "" when nobody is there.
	Name(container string, address netip.Addr) string
}

// Upstream is where a container's other questions go. With no servers they are refused: what is on internal networks
// alone asks nobody outside.
type Upstream struct {
	Servers []netip.AddrPort
	Inside  bool // they are asked from the container's own namespace: it named them itself
}

// Server holds the sockets of all containers.
type Server struct {
	names   Names
	log     *slog.Logger
	cache   cache
	forward chan struct{} // bounds how many questions are with resolvers at a time

	mu    sync.Mutex
	boxes map[string]*box // by container
}

// maxForward bounds the questions under way to resolvers; more are answered with SERVFAIL, and asked again.
const maxForward = 1024

// New makes a Server without sockets.
func New(names Names, log *slog.Logger) *Server {
	return &Server{names: names, log: log, forward: make(chan struct{}, maxForward), boxes: map[string]*box{}}
}

// box is one container's sockets.
type box struct {
	server    *Server
	container string
	netns     *os.File // open with Upstream.Inside alone
	udp       *net.UDPConn
	tcp       *dns.Server
	ctx       context.Context
	stop      context.CancelFunc

	mu       sync.Mutex
	upstream Upstream
}

// Open answers a container from now on. Again it only changes where other questions go.
func (s *Server) Open(container string, netns *os.File, up Upstream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.boxes[container]; b != nil {
		b.mu.Lock()
		b.upstream = up
		b.mu.Unlock()
		return nil
	}
	b := &box{server: s, container: container, upstream: up}
	if err := b.open(netns); err != nil {
		b.close()
		return fmt.Errorf("resolver of container %.12s: %w", container, err)
	}
	s.boxes[container] = b
	return nil
}

func (b *box) open(netns *os.File) (err error) {
	b.ctx, b.stop = context.WithCancel(context.Background())
	if b.netns, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", netns.Fd())); err != nil {
		return err
	}
	var listener *net.TCPListener
	err = netlink.In(netns, func() error {
		// The kernel's own choice of ports, so that they collide with nothing of the container's.
		at := netip.AddrPortFrom(Address, 0)
		if b.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
			return err
		}
		if listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)); err != nil {
			return err
		}
		return firewall.LeadResolver(netip.AddrPortFrom(Address, 53),
			b.udp.LocalAddr().(*net.UDPAddr).AddrPort(), listener.Addr().(*net.TCPAddr).AddrPort())
	})
	if err != nil {
		if listener != nil {
			_ = listener.Close()
		}
		return err
	}
	b.tcp = &dns.Server{Listener: listener, Handler: dns.HandlerFunc(b.serveTCP), MaxTCPQueries: 1024, ReadTimeout: 10 * time.Second,
		IdleTimeout: func() time.Duration { return 10 * time.Second }}
	go b.serveUDP()
	go func() { _ = b.tcp.ActivateAndServe() }()
	return nil
}

// Close ends a container's resolver; one that has none is no error. Its namespace can die afterwards.
func (s *Server) Close(container string) {
	s.mu.Lock()
	b := s.boxes[container]
	delete(s.boxes, container)
	s.mu.Unlock()
	if b != nil {
		b.close()
	}
}

// Shut ends all of them.
func (s *Server) Shut() {
	s.mu.Lock()
	all := s.boxes
	s.boxes = map[string]*box{}
	s.mu.Unlock()
	for _, b := range all {
		b.close()
	}
}

func (b *box) close() {
	b.stop()
	if b.udp != nil {
		_ = b.udp.Close()
	}
	if b.tcp != nil {
		_ = b.tcp.Listener.Close()
		_ = b.tcp.Shutdown()
	}
	if b.netns != nil {
		_ = b.netns.Close()
	}
}

// serveUDP reads questions one by one: what a network knows is answered at once, the rest on the side.
func (b *box) serveUDP() {
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, from, err := b.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an answer to an earlier asker could not be delivered (ICMP)
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil || q.Response {
			continue // no question: it gets no answer, which could start a loop
		}
		if a := b.answer(q); a != nil {
			b.reply(q, a, from)
			continue
		}
		go func() { b.reply(q, b.ask(q, "udp"), from) }()
	}
}

func (b *box) reply(q, a *dns.Msg, to netip.AddrPort) {
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = max(size, int(opt.UDPSize()))
	}
	a.Truncate(size)
	if data, err := a.Pack(); err == nil {
		_, _ = b.udp.WriteToUDPAddrPort(data, to) // who does not wait for it any more has gone
	}
}

func (b *box) serveTCP(w dns.ResponseWriter, q *dns.Msg) {
	a := b.answer(q)
	if a == nil {
		a = b.ask(q, "tcp")
	}
	_ = w.WriteMsg(a)
}
