package ipam

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/conex-containers/conex/base/errdefs"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestSubnetGivesEveryAddressOnce(t *testing.T) {
	for _, c := range []struct {
		prefix, within string
		reserved       string
		want           int
		first          string
	}{
		{"172.17.0.0/16", "", "172.17.0.1", 65533, "172.17.0.2"},
		{"10.0.0.0/24", "10.0.0.128/25", "10.0.0.1", 127, "10.0.0.128"},
		{"10.0.0.0/24", "", "10.0.0.254", 253, "10.0.0.1"},
		{"10.0.0.0/30", "", "10.0.0.1", 1, "10.0.0.2"},
		{"10.0.0.0/31", "", "10.0.0.0", 1, "10.0.0.1"},
		{"fd00::/120", "", "fd00::1", 254, "fd00::2"},
	} {
		var within netip.Prefix
		if c.within != "" {
			within = prefix(c.within)
		}
		s, err := NewSubnet(prefix(c.prefix), within, netip.MustParseAddr(c.reserved))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[netip.Addr]bool{}
		for {
			a, err := s.Next()
			if errdefs.Is(err, errdefs.ErrResourceExhausted) {
				break
			}
			if err != nil || seen[a] || !prefix(c.prefix).Contains(a) {
				t.Fatalf("%s: got %s, %v", c.prefix, a, err)
			}
			if len(seen) == 0 && a.String() != c.first {
				t.Errorf("%s: first address %s, want %s", c.prefix, a, c.first)
			}
			seen[a] = true
		}
		if len(seen) != c.want || s.Used() != c.want {
			t.Errorf("%s: %d addresses given, %d counted, want %d", c.prefix, len(seen), s.Used(), c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		prefix, within, gateway string
		take                    string
		taken, free             uint64
	}{
		{"172.17.0.0/16", "", "172.17.0.1", "172.17.3.4", 4, 65532}, // network, broadcast, gateway and the one
		{"10.0.0.0/24", "10.0.0.128/25", "10.0.0.1", "10.0.0.2", 4, 127},
		{"10.0.0.0/24", "10.0.0.128/25", "10.0.0.1", "10.0.0.200", 4, 126},
		{"fd00::/120", "", "fd00::1", "fd00::7", 3, 253},
	} {
		var within netip.Prefix
		if c.within != "" {
			within = prefix(c.within)
		}
		s, err := NewSubnet(prefix(c.prefix), within, netip.MustParseAddr(c.gateway))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Take(netip.MustParseAddr(c.take)); err != nil {
			t.Fatal(err)
		}
		if taken, free := s.Usage(); taken != c.taken || free != c.free {
			t.Errorf("%s: %d taken, %d free, want %d and %d", c.prefix, taken, free, c.taken, c.free)
		}
	}
}

func TestFreedAddressComesBackLast(t *testing.T) {
	s, err := NewSubnet(prefix("10.0.0.0/29"), netip.Prefix{}, netip.MustParseAddr("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := s.Next()
	s.Free(a)
	for range 4 {
		if b, err := s.Next(); err != nil || b == a {
			t.Fatalf("got %s, %v: want the others first", b, err)
		}
	}
	if b, err := s.Next(); err != nil || b != a {
		t.Errorf("got %s, %v: want %s in the end", b, err, a)
	}
	s.Free(netip.MustParseAddr("10.0.0.3"))
	s.Continue(netip.MustParseAddr("10.0.0.5"))
	if b, err := s.Next(); err != nil || b.String() != "10.0.0.3" {
		t.Errorf("got %s, %v: want the only free address", b, err)
	}
}

// TestSubnetAgainstModel compares random operations with a plain set.
func TestSubnetAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := netip.PrefixFrom(netip.MustParseAddr("10.1.0.0"), 18+r.IntN(11)).Masked()
		gateway := p.Addr().Next()
		s, err := NewSubnet(p, netip.Prefix{}, gateway)
		if err != nil {
			t.Fatal(err)
		}
		model := map[netip.Addr]bool{}
		size := uint64(1) << (32 - p.Bits())
		for range 3000 {
			a := s.address(r.Uint64N(size))
			switch r.IntN(4) {
			case 0:
				s.Free(a)
				delete(model, a)
			case 1:
				special := a == gateway || a == p.Addr() || a == last(p)
				if err := s.Take(a); (err == nil) == (model[a] || special) {
					t.Fatalf("seed %d: take %s: %v, in use %v, special %v", seed, a, err, model[a], special)
				}
				if !special {
					model[a] = true
				}
			default:
				got, err := s.Next()
				if full := uint64(len(model)) == size-3; full != (err != nil) {
					t.Fatalf("seed %d: next: %v with %d of %d in use", seed, err, len(model), size)
				}
				if err == nil && (model[got] || got == gateway || got == p.Addr() || got == last(p)) {
					t.Fatalf("seed %d: next gave %s, which is in use", seed, got)
				}
				if err == nil {
					model[got] = true
				}
			}
			if s.Used() != len(model) {
				t.Fatalf("seed %d: %d counted, %d in use", seed, s.Used(), len(model))
			}
		}
	}
}

func FuzzSubnet(f *testing.F) {
	f.Add("10.0.0.0/24", "10.0.0.0/25", "10.0.0.1")
	f.Add("fd00::/64", "", "fd00::1")
	f.Fuzz(func(t *testing.T, pool, within, reserved string) {
		p, err := netip.ParsePrefix(pool)
		if err != nil {
			return
		}
		w, _ := netip.ParsePrefix(within)
		a, _ := netip.ParseAddr(reserved)
		s, err := NewSubnet(p, w, a)
		if err != nil {
			return
		}
		for range 3 {
			got, err := s.Next()
			if err != nil {
				return
			}
			if !p.Contains(got) || got == a || w.IsValid() && !w.Contains(got) {
				t.Fatalf("%s within %s without %s gave %s", p, w, a, got)
			}
		}
	})
}

func TestNextSubnet(t *testing.T) {
	pools := DefaultPools()
	for _, p := range pools {
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
	var taken []netip.Prefix
	for {
		p, err := NextSubnet(pools, taken)
		if errdefs.Is(err, errdefs.ErrResourceExhausted) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, p)
	}
	// Docker's counts: 172.17 to 172.31 as /16, 192.168 as sixteen /20.
	if len(taken) != 31 || taken[0].String() != "172.17.0.0/16" || taken[14].String() != "172.31.0.0/16" || taken[30].String() != "192.168.240.0/20" {
		t.Errorf("%d subnets: %v", len(taken), taken)
	}
	for _, c := range []struct{ taken, want string }{
		{"172.16.0.0/12", "192.168.0.0/20"},
		{"172.17.3.0/24", "172.18.0.0/16"},
		{"172.17.0.0/15", "172.18.0.0/16"}, // 172.16.0.0 to 172.17.255.255
		{"0.0.0.0/1", "172.17.0.0/16"},
	} {
		if got, err := NextSubnet(pools, []netip.Prefix{prefix(c.taken)}); err != nil || got.String() != c.want {
			t.Errorf("beside %s: %s, %v, want %s", c.taken, got, err, c.want)
		}
	}
	for _, bad := range []Pool{{}, {prefix("10.0.0.1/8"), 24}, {prefix("10.0.0.0/24"), 16}, {prefix("10.0.0.0/24"), 31}, {prefix("fd00::/8"), 127}} {
		if bad.Check() == nil {
			t.Errorf("pool %s is accepted", bad)
		}
	}
}
