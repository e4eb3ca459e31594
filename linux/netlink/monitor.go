package netlink

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// AwaitReady returns when frames pass through the link, at most that long after its two ends came up.
//
// The carrier's coming is worked off by a kernel worker, some time later: until then a sender drops what it should
// send and a bridge keeps the port closed. Asking for the link makes the kernel do that work at once (since 6.8,
// "net: core: synchronize link-watch when carrier is queried"); with an older one its event is waited for.
func (s *Socket) AwaitReady(name string, atMost time.Duration) error {
	link, err := s.Link(name)
	if err != nil || link.Ready {
		return err
	}
	return s.watch(atMost, func() (bool, error) {
		link, err := s.Link(name)
		return link.Ready, err
	})
}

// AwaitGone waits until none of the named links exists, at most that long, and returns those that still do.
func AwaitGone(names map[string]bool, atMost time.Duration) (left []string, err error) {
	s, err := OpenRoute()
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	err = s.watch(atMost, func() (bool, error) {
		links, err := s.Links()
		left = nil
		for _, l := range links {
			if names[l.Name] {
				left = append(left, l.Name)
			}
		}
		return len(left) == 0, err
	})
	return left, err
}

// watch calls done now and again at every link event, until it says so or the time is over. It must be called in
// the socket's own namespace.
func (s *Socket) watch(atMost time.Duration, done func() (bool, error)) error {
	events, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer func() { _ = events.Close() }()
	if err := unix.Bind(events.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return fmt.Errorf("netlink link events: %w", err)
	}
	for end := time.Now().Add(atMost); ; {
		finished, err := done()
		wait := time.Until(end)
		if err != nil || finished || wait <= 0 {
			return err
		}
		timeout := unix.NsecToTimeval(int64(max(wait, time.Millisecond)))
		if err := unix.SetsockoptTimeval(events.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return err
		}
		// EAGAIN: the time is over; ENOBUFS: so many events that some were lost, ask again.
		err = events.receive(func(header, []byte) {})
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
}
