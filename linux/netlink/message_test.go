package netlink

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAttributesReadBackWhatTheBuilderWrites(t *testing.T) {
	m := newMessage(unix.RTM_NEWLINK, unix.NLM_F_CREATE).link(unix.AF_UNSPEC, 7, unix.IFF_UP, unix.IFF_UP).
		str(unix.IFLA_IFNAME, "veth").str(unix.IFLA_IFALIAS, "conex:x:id").u32(unix.IFLA_MASTER, 3).u32(unix.IFLA_GROUP, 9).
		attr(unix.IFLA_ADDRESS, net.HardwareAddr{2, 0x42, 1, 2, 3, 4}).u32(unix.IFLA_MTU, 1400)
	m.nest(unix.IFLA_LINKINFO, func() { m.str(unix.IFLA_INFO_KIND, "veth") })
	var got Link
	err := split(m.finish(unix.NLM_F_ACK, 5), func(h header, b []byte) {
		if h.kind != unix.RTM_NEWLINK || h.seq != 5 || h.flags != unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK {
			t.Errorf("header %+v", h)
		}
		got, _ = parseLink(b)
	})
	if err != nil || got.Name != "veth" || got.Alias != "conex:x:id" || got.Index != 7 || got.Master != 3 || !got.Up ||
		got.Kind != "veth" || got.Group != 9 || got.MTU != 1400 || got.MAC.String() != "02:42:01:02:03:04" {
		t.Errorf("read back %+v, %v", got, err)
	}
}

func TestBroadcast(t *testing.T) {
	for p, want := range map[string]string{"172.17.0.1/16": "172.17.255.255", "10.0.0.5/30": "10.0.0.7", "192.0.2.1/24": "192.0.2.255"} {
		if got, _ := netip.AddrFromSlice(broadcast(netip.MustParsePrefix(p))); got.String() != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}

func TestFlowsSelects(t *testing.T) {
	addr := netip.MustParseAddr
	x := flow{proto: 17, status: statusSourceNAT, from: addr("192.0.2.9"), to: netip.MustParseAddrPort("192.0.2.1:53"), reply: addr("172.17.0.2")}
	for _, c := range []struct {
		f    Flows
		want bool
	}{
		{Flows{Proto: 17}, true},
		{Flows{Proto: 6}, false},
		{Flows{Proto: 17, To: netip.MustParseAddrPort("0.0.0.0:53")}, true},
		{Flows{Proto: 17, To: netip.MustParseAddrPort("0.0.0.0:54")}, false},
		{Flows{Proto: 17, To: netip.MustParseAddrPort("192.0.2.2:53")}, false},
		{Flows{Proto: 17, Unmasked: true}, false},
		{Flows{Proto: 17, From: addr("192.0.2.9"), Reply: addr("172.17.0.2")}, true},
		{Flows{Proto: 17, Reply: addr("172.17.0.3")}, false},
	} {
		if c.f.selects(x) != c.want {
			t.Errorf("%+v: want %v", c.f, c.want)
		}
	}
}

// FuzzDecode feeds arbitrary bytes to everything that reads the kernel's answers.
func FuzzDecode(f *testing.F) {
	f.Add(newMessage(unix.RTM_NEWLINK, 0).link(0, 1, 0, 0).str(unix.IFLA_IFNAME, "lo").finish(0, 1))
	f.Add(address(3, netip.MustParsePrefix("10.0.0.1/8")).finish(0, 1))
	f.Add(defaultRoute(3, Gateway{Addr: netip.MustParseAddr("10.0.0.1")}, 0).finish(0, 1))
	f.Add(Flows{Proto: 17, Reply: netip.MustParseAddr("10.0.0.1")}.message(ctMessageGet).finish(0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		_ = split(b, func(h header, b []byte) {
			_ = parseError(h, b)
			_, _ = parseLink(b)
			_, _ = parseAddress(b)
			_, _ = parseRoute(b)
			_, _ = parseFlow(b)
		})
		if !bytes.Equal(in, b) {
			t.Error("decoding changed its input")
		}
	})
}
