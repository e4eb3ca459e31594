package nft

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/nftables/expr"
)

func TestMapKeysAreLaidOutAsTheRulesLoadThem(t *testing.T) {
	a := netip.MustParseAddr("10.1.2.3")
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"ProtoPort", ProtoPort(6, 0x1f90), []byte{6, 0, 0, 0, 0x1f, 0x90, 0, 0}},
		{"AddressProtoPort", AddressProtoPort(a, 17, 53), []byte{10, 1, 2, 3, 17, 0, 0, 0, 0, 53, 0, 0}},
		{"Target", Target(a, 80), []byte{10, 1, 2, 3, 0, 80, 0, 0}},
		{"InterfaceKey", InterfaceKey("lo"), append([]byte("lo"), make([]byte, 14)...)},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: % x, want % x", c.name, c.got, c.want)
		}
	}
	if got, ok := ParseTarget(Target(a, 80)); !ok || got.String() != "10.1.2.3:80" {
		t.Errorf("target read back: %s, %v", got, ok)
	}
	if _, ok := ParseTarget(nil); ok {
		t.Error("an empty target is accepted")
	}
}

func TestSubnetMasks(t *testing.T) {
	for p, want := range map[string][]byte{
		"10.0.0.0/8": {255, 0, 0, 0}, "192.0.2.64/26": {255, 255, 255, 192}, "0.0.0.0/0": {0, 0, 0, 0}, "192.0.2.1/32": {255, 255, 255, 255},
	} {
		found := false
		for _, e := range Source(netip.MustParsePrefix(p)) {
			if b, ok := e.(*expr.Bitwise); ok {
				found = true
				if !bytes.Equal(b.Mask, want) {
					t.Errorf("%s: mask % x, want % x", p, b.Mask, want)
				}
			}
		}
		if !found {
			t.Errorf("%s: no mask in the match", p)
		}
	}
}
