// Package ipam gives out addresses: automatic subnets from pools, and the addresses of one subnet.
package ipam

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Pool is a block of addresses that automatic subnets of Size bits are cut from.
type Pool struct {
	Base netip.Prefix `json:"base"`
	Size int          `json:"size"` // prefix length of each subnet
}

// DefaultPools returns Docker's pools: 15 networks of /16 and then 16 of /20.
func DefaultPools() []Pool {
	var pools []Pool
	for _, p := range []struct {
		base string
		size int
	}{
		{"172.17.0.0/16", 16}, {"172.18.0.0/16", 16}, {"172.19.0.0/16", 16},
		{"172.20.0.0/14", 16}, {"172.24.0.0/14", 16}, {"172.28.0.0/14", 16},
		{"192.168.0.0/16", 20},
	} {
		pools = append(pools, Pool{Base: netip.MustParsePrefix(p.base), Size: p.size})
	}
	return pools
}

// Check tells what is wrong with the pool, if anything is.
func (p Pool) Check() error {
	switch {
	case !p.Base.IsValid() || p.Base != p.Base.Masked():
		return errdefs.InvalidArgument("address pool %s: not a network address", p.Base)
	case p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen()-2:
		return errdefs.InvalidArgument("address pool %s: size %d must be between %d and %d", p.Base, p.Size, p.Base.Bits(), p.Base.Addr().BitLen()-2)
	}
	return nil
}

func (p Pool) String() string { return fmt.Sprintf("%s cut into /%d", p.Base, p.Size) }

// Of returns the pools of one family.
func Of(pools []Pool, six bool) []Pool {
	return slices.DeleteFunc(slices.Clone(pools), func(p Pool) bool { return p.Base.Addr().Is6() != six })
}

// UniqueLocal derives the pool of a machine's IPv6 networks from what tells it from others: a /48 of its own (RFC 4193 section
// 3.2), cut into /64.
func UniqueLocal(seed string) Pool {
	sum := sha256.Sum256([]byte(seed))
	b := [16]byte{0xfd}
	copy(b[1:6], sum[:])
	return Pool{Base: netip.PrefixFrom(netip.AddrFrom16(b), 48), Size: 64}
}

// NextSubnet returns the first subnet of the pools, in their order, that overlaps none of the taken ones. When
// there is none the error (ErrResourceExhausted) names the pools.
func NextSubnet(pools []Pool, taken []netip.Prefix) (netip.Prefix, error) {
	for _, pool := range pools {
		candidate := netip.PrefixFrom(pool.Base.Addr(), pool.Size)
		for candidate.IsValid() && pool.Base.Contains(candidate.Addr()) {
			hit, ok := Overlap(candidate, taken)
			if !ok {
				return candidate, nil
			}
			// A wide neighbour is jumped over at once, not subnet by subnet.
			next := last(candidate)
			if hit.Bits() < candidate.Bits() {
				next = last(hit)
			}
			candidate = netip.PrefixFrom(next.Next(), pool.Size)
		}
	}
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.String()
	}
	return netip.Prefix{}, errdefs.With(errdefs.ErrResourceExhausted, fmt.Errorf(
		"all address pools are used up or overlap with the host's routes (%s): remove unused networks, give --subnet, or configure --default-address-pool",
		strings.Join(names, ", ")))
}

// Overlap returns the first of taken that overlaps p.
func Overlap(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if p.Overlaps(t) {
			return t.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// last returns the highest address of p: the broadcast address of an IPv4 subnet.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
