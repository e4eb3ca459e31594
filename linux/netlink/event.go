package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Change is what an Events socket tells.
type Change struct {
	Gone bool // the link was deleted; false: it is new, or something of it changed
	Link Link
	// Address is set for an address that was taken off the link with that index; Link has its index alone then.
	Address bool
	// Firewall is set when somebody else changed nftables; the other fields are empty then.
	Firewall bool
	// Lost says that more happened than could be told: look at everything.
	Lost bool
}

// Events tells of changes in the network namespace in which it was opened.
type Events struct {
	file *os.File
	kind int
	buf  []byte
}

// WatchLinks tells of links and of addresses that go. The kernel leaves out what changes with every container: links
// whose names begin with quiet followed by busy, and those that begin with quiet and are up.
func WatchLinks(quiet string, busy byte) (*Events, error) {
	return watchGroup(unix.NETLINK_ROUTE, unix.RTMGRP_LINK|unix.RTMGRP_IPV4_IFADDR|unix.RTMGRP_IPV6_IFADDR, linkFilter(quiet, busy))
}

// WatchFirewall tells of each transaction of nftables that another process made.
func WatchFirewall() (*Events, error) {
	return watchGroup(unix.NETLINK_NETFILTER, 1<<(unix.NFNLGRP_NFTABLES-1), generationFilter())
}

func watchGroup(protocol int, groups uint32, filter []unix.SockFilter) (*Events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink events: %w", err)
	}
	return &Events{file: os.NewFile(uintptr(fd), "netlink"), kind: protocol, buf: make([]byte, receiveBuffer)}, nil
}

// Offsets in a message of links: nlmsghdr, ifinfomsg, and the first attribute, which is the name (rtnl_fill_ifinfo).
const (
	typeOffset  = 4
	flagsOffset = unix.NLMSG_HDRLEN + 8
	nameOffset  = unix.NLMSG_HDRLEN + sizeofLinkMessage + 4
)

// halfword is a message type as a filter sees it: it reads in network order what the kernel writes in its own.
func halfword(kind uint16) uint32 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], kind)
	return uint32(binary.BigEndian.Uint16(b[:]))
}

func statement(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jumpEqual(k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: yes, Jf: no}
}

// lowByte is where the lowest byte of a 32-bit number lies that the kernel wrote in its own order.
func lowByte(offset uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return offset
	}
	return offset + 3
}

// linkFilter drops addresses that are new, links whose names begin with quiet and busy, and those that begin with
// quiet and are up: a bridge's state changes with each container.
func linkFilter(quiet string, busy byte) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter { return statement(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, offset) }
	kind := statement(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS, typeOffset)
	n := uint8(2*len(quiet) + 6) // statements from the comparison of the name to the one that accepts, less one
	program := []unix.SockFilter{
		kind,
		jumpEqual(halfword(unix.RTM_NEWLINK), 3, 0),
		jumpEqual(halfword(unix.RTM_DELLINK), 2, 0),
		jumpEqual(halfword(unix.RTM_DELADDR), n+2, 0),
		statement(unix.BPF_RET|unix.BPF_K, 0),
	}
	for i := range len(quiet) {
		program = append(program, load(nameOffset+uint32(i)), jumpEqual(uint32(quiet[i]), 0, n-uint8(2*i)-1))
	}
	return append(program,
		load(nameOffset+uint32(len(quiet))), jumpEqual(uint32(busy), 4, 0),
		kind, jumpEqual(halfword(unix.RTM_DELLINK), 3, 0),
		load(lowByte(flagsOffset)), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.IFF_UP, Jt: 0, Jf: 1},
		statement(unix.BPF_RET|unix.BPF_K, 0),
		statement(unix.BPF_RET|unix.BPF_K, 0xffffffff))
}

// newGeneration ends the notices of a transaction and names the process that made it (NFT_MSG_NEWGEN).
const newGeneration = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN

func generationFilter() []unix.SockFilter {
	return []unix.SockFilter{
		statement(unix.BPF_LD|unix.BPF_H|unix.BPF_ABS, typeOffset),
		jumpEqual(halfword(newGeneration), 0, 1),
		statement(unix.BPF_RET|unix.BPF_K, 0xffffffff),
		statement(unix.BPF_RET|unix.BPF_K, 0),
	}
}

// Close ends a Next that waits, with os.ErrClosed.
func (e *Events) Close() error { return e.file.Close() }

// Next waits for changes and calls each for them.
func (e *Events) Next(each func(Change)) error {
	n, err := e.file.Read(e.buf)
	if errors.Is(err, unix.ENOBUFS) {
		each(Change{Lost: true})
		return nil
	}
	if err != nil {
		return err
	}
	return split(e.buf[:n], func(h header, b []byte) {
		switch {
		case e.kind == unix.NETLINK_NETFILTER:
			if h.kind == newGeneration && !ownGeneration(b) {
				each(Change{Firewall: true})
			}
		case h.kind == unix.RTM_DELADDR:
			if a, ok := parseAddress(b); ok {
				each(Change{Gone: true, Address: true, Link: Link{Index: a.Index}})
			}
		case h.kind == unix.RTM_NEWLINK || h.kind == unix.RTM_DELLINK:
			if l, ok := parseLink(b); ok {
				each(Change{Gone: h.kind == unix.RTM_DELLINK, Link: l})
			}
		}
	})
}

// Attributes of NFT_MSG_NEWGEN (linux/netfilter/nf_tables.h, nft_gen_attributes).
const generationProcess = 2 // NFTA_GEN_PROC_PID: the thread, in network order

// ownGeneration tells whether a transaction was made by a thread of this process.
func ownGeneration(b []byte) bool {
	if len(b) < sizeofFilterMessage {
		return false
	}
	for kind, v := range attributes(b[sizeofFilterMessage:]) {
		if kind == generationProcess && len(v) == 4 {
			_, err := os.Stat("/proc/self/task/" + strconv.Itoa(int(binary.BigEndian.Uint32(v))))
			return err == nil
		}
	}
	return false
}

// Rename gives the interface with that index another name.
func (s *Socket) Rename(index int, name string) error {
	return s.do(newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, index, 0, 0).str(unix.IFLA_IFNAME, name))
}

// SetDown takes the interface with that index down.
func (s *Socket) SetDown(index int) error {
	return s.do(newMessage(unix.RTM_SETLINK, 0).link(unix.AF_UNSPEC, index, 0, unix.IFF_UP))
}
