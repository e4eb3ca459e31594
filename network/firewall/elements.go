package firewall

import (
	"bytes"
	"fmt"
	"net/netip"
)

// Element is a published port's element of a map, and whether the kernel has it.
type Element struct {
	Text    string // as nft(8) writes it
	Present bool
}

// Elements looks for the ports' elements in the kernel, in the order of the ports.
func (t *Table) Elements(ports []Port) ([]Element, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	present, err := t.present()
	if err != nil {
		return nil, err
	}
	out := make([]Element, 0, len(ports))
	for _, p := range ports {
		set, want := p.element()
		have, ok := present[set][string(want.Key)]
		out = append(out, Element{Text: t.text(set, p), Present: ok && bytes.Equal(have.Val, want.Val)})
	}
	return out, nil
}

// text writes an element: of a map with its target, of the set of what routed networks let in without.
func (t *Table) text(set string, p Port) string {
	where := fmt.Sprintf("%s %s", t.table.Name, set)
	target := netip.AddrPortFrom(p.Target.Addr(), p.Target.Port())
	switch {
	case p.HostPort == 0:
		return fmt.Sprintf("set inet %s { %s . %s . %d }", where, target.Addr(), p.Proto, target.Port())
	case p.HostIP.IsUnspecified():
		return fmt.Sprintf("map inet %s { %s . %d : %s . %d }", where, p.Proto, p.HostPort, target.Addr(), target.Port())
	}
	return fmt.Sprintf("map inet %s { %s . %s . %d : %s . %d }", where, p.HostIP, p.Proto, p.HostPort, target.Addr(), target.Port())
}
