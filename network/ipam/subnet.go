package ipam

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"

	"github.com/conex-containers/conex/base/errdefs"
)

// chunkBits is how many addresses one lazily made piece of the bitmap holds.
const chunkBits = 4096

// interfaceBits is the length of an IPv6 subnet whose offsets fill 64 bits (RFC 4291 section 2.5.4).
const interfaceBits = 64

type chunk struct {
	words [chunkBits / 64]uint64
	used  int
}

// Subnet gives out the addresses of one subnet: the next free one after the last given, so that a freed address
// comes back as late as possible. It takes memory only for what is used. Safe for concurrent use.
type Subnet struct {
	mu       sync.Mutex
	prefix   netip.Prefix
	reserved map[uint64]bool
	from, to uint64 // offsets of the automatic range, both included
	cursor   uint64 // offset of the address that was given last
	chunks   map[uint64]*chunk
	used     int
}

// NewSubnet returns the allocator of prefix. Automatic addresses come from within (the whole prefix when it is the
// zero value). The network address, the broadcast address and the reserved ones (gateway, aux) are never given out. Of an IPv6
// prefix shorter than /64 addresses are given from the first /64 alone.
func NewSubnet(prefix, within netip.Prefix, reserved ...netip.Addr) (*Subnet, error) {
	prefix = prefix.Masked()
	if !prefix.IsValid() || prefix.Bits() == 0 {
		return nil, errdefs.InvalidArgument("subnet %s: not a subnet that addresses can be given from", prefix)
	}
	if prefix.Addr().Is6() && prefix.Bits() < interfaceBits {
		prefix = netip.PrefixFrom(prefix.Addr(), interfaceBits)
	}
	if !within.IsValid() {
		within = prefix
	}
	within = within.Masked()
	if within.Bits() < prefix.Bits() || !prefix.Contains(within.Addr()) {
		return nil, errdefs.InvalidArgument("address range %s is not inside the subnet %s", within, prefix)
	}
	s := &Subnet{prefix: prefix, reserved: map[uint64]bool{}, chunks: map[uint64]*chunk{}}
	s.from, s.to = s.offset(within.Addr()), s.offset(last(within))
	size := s.offset(last(prefix))
	if size > 1 { // a /31 or /127 has neither network nor broadcast address (RFC 3021, RFC 6164)
		s.reserved[0] = true
		if prefix.Addr().Is4() {
			s.reserved[size] = true
		}
	}
	for _, a := range reserved {
		if !a.IsValid() {
			continue
		}
		if !prefix.Contains(a) {
			return nil, errdefs.InvalidArgument("address %s is not inside the subnet %s", a, prefix)
		}
		s.reserved[s.offset(a)] = true
	}
	s.cursor = s.to // the first one given is the range's first
	return s, nil
}

// Next gives out the next free address. A full range is ErrResourceExhausted.
func (s *Subnet) Next() (netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := s.cursor + 1
	if start > s.to || start < s.from {
		start = s.from
	}
	offset, ok := s.free(start, s.to)
	if !ok && start > s.from {
		offset, ok = s.free(s.from, start-1)
	}
	if !ok {
		return netip.Addr{}, errdefs.With(errdefs.ErrResourceExhausted, fmt.Errorf(
			"no free address in %s (range %s to %s, %d in use): remove containers or use a network with a larger subnet",
			s.prefix, s.address(s.from), s.address(s.to), s.used))
	}
	s.set(offset)
	s.cursor = offset
	return s.address(offset), nil
}

// Take gives out this very address: ErrConflict when it is in use, ErrInvalidArgument when it can never be.
func (s *Subnet) Take(a netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.prefix.Contains(a) {
		return errdefs.InvalidArgument("address %s is not inside the subnet %s", a, s.prefix)
	}
	offset := s.offset(a)
	if s.reserved[offset] {
		return errdefs.InvalidArgument("address %s is reserved in the subnet %s (gateway, network, broadcast or auxiliary address)", a, s.prefix)
	}
	if s.has(offset) {
		return errdefs.Conflict("address %s is already in use", a)
	}
	s.set(offset)
	return nil
}

// Free takes an address back; one that was not given out is left alone.
func (s *Subnet) Free(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.prefix.Contains(a) {
		return
	}
	offset := s.offset(a)
	if c := s.chunks[offset/chunkBits]; c != nil && s.has(offset) {
		c.words[offset%chunkBits/64] &^= 1 << (offset % 64)
		c.used--
		s.used--
		if c.used == 0 {
			delete(s.chunks, offset/chunkBits)
		}
	}
}

// Continue makes Next go on after a, as if a had been given out last.
func (s *Subnet) Continue(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prefix.Contains(a) {
		s.cursor = s.offset(a)
	}
}

// Used counts the addresses that are given out.
func (s *Subnet) Used() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// Usage counts the subnet's addresses that cannot be given out any more, reserved ones among them, and those that Next
// still can.
func (s *Subnet) Usage() (taken, free uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken = uint64(s.used + len(s.reserved))
	if free = s.to - s.from + 1; free == 0 {
		free-- // a whole /64 is more than the number holds
	}
	for o := range s.reserved {
		if o >= s.from && o <= s.to {
			free--
		}
	}
	for n, c := range s.chunks {
		for i, word := range c.words {
			for ; word != 0; word &= word - 1 {
				if o := n*chunkBits + uint64(i*64+bits.TrailingZeros64(word)); o >= s.from && o <= s.to {
					free--
				}
			}
		}
	}
	return taken, free
}

// free finds the first free offset of [from, to].
func (s *Subnet) free(from, to uint64) (uint64, bool) {
	for o := from; o <= to; {
		c := s.chunks[o/chunkBits]
		if c != nil {
			if c.used == chunkBits {
				if o = (o/chunkBits + 1) * chunkBits; o == 0 {
					break
				}
				continue
			}
			taken := c.words[o%chunkBits/64] | (1<<(o%64) - 1) // what is below o does not count
			if taken == ^uint64(0) {
				if o = (o/64 + 1) * 64; o == 0 {
					break
				}
				continue
			}
			o = o&^63 + uint64(bits.TrailingZeros64(^taken))
		}
		if o > to {
			break
		}
		if !s.reserved[o] {
			return o, true
		}
		if o++; o == 0 {
			break // it was the last one of a /64
		}
	}
	return 0, false
}

func (s *Subnet) has(offset uint64) bool {
	c := s.chunks[offset/chunkBits]
	return c != nil && c.words[offset%chunkBits/64]&(1<<(offset%64)) != 0
}

func (s *Subnet) set(offset uint64) {
	c := s.chunks[offset/chunkBits]
	if c == nil {
		c = &chunk{}
		s.chunks[offset/chunkBits] = c
	}
	c.words[offset%chunkBits/64] |= 1 << (offset % 64)
	c.used++
	s.used++
}

// offset is a's distance from the network address.
func (s *Subnet) offset(a netip.Addr) uint64 { return low(a) - low(s.prefix.Addr()) }

func (s *Subnet) address(offset uint64) netip.Addr {
	b := s.prefix.Addr().AsSlice()
	if len(b) == 4 {
		binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)+uint32(offset))
	} else {
		binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+offset)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// low returns the lowest 64 bits of the address.
func low(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}
