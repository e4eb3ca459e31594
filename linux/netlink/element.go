package netlink

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Element is one of an nftables set.
type Element struct {
	Set string
	Key []byte
	Tag []byte // user data: its owner
}

// Of linux/netfilter/nf_tables.h, which x/sys/unix names in part.
const newSetElement = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM

// AddElements adds elements to sets of one table, wholly or not at all, on a socket of OpenFilter. It is for what every
// container's start does: one message to the kernel and one answer. ENOENT: no such table or set.
func (s *Socket) AddElements(family uint8, table string, all []Element) error {
	batch := func(kind uint16) *message {
		return newMessage(kind, 0).raw(unix.AF_UNSPEC, 0, unix.NFNL_SUBSYS_NFTABLES>>8, unix.NFNL_SUBSYS_NFTABLES&0xff)
	}
	messages := []*message{batch(unix.NFNL_MSG_BATCH_BEGIN)}
	for i, e := range all {
		m := newMessage(newSetElement, unix.NLM_F_CREATE).raw(family, 0, 0, 0)
		if i == len(all)-1 {
			m.flags |= unix.NLM_F_ACK
		}
		m.str(unix.NFTA_SET_ELEM_LIST_TABLE, table).str(unix.NFTA_SET_ELEM_LIST_SET, e.Set)
		m.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
			m.nest(unix.NFTA_LIST_ELEM, func() {
				m.nest(unix.NFTA_SET_ELEM_KEY, func() { m.attr(unix.NFTA_DATA_VALUE, e.Key) })
				m.attr(unix.NFTA_SET_ELEM_USERDATA, e.Tag)
			})
		})
		messages = append(messages, m)
	}
	messages = append(messages, batch(unix.NFNL_MSG_BATCH_END))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.send(0, messages); err != nil {
		return err
	}
	last, answered := s.seq-1, false
	var refused *Error
	for !answered {
		err := s.receive(func(h header, payload []byte) {
			if h.kind != unix.NLMSG_ERROR {
				return
			}
			if e := parseError(h, payload); e != nil && h.seq >= last-uint32(len(all)) {
				refused, answered = e, true
			}
			answered = answered || h.seq == last
		})
		if err != nil {
			return err
		}
	}
	if refused != nil {
		return fmt.Errorf("add elements: %w", refused)
	}
	return nil
}
