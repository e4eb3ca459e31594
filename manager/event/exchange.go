// Package event passes on what happened: publishers never wait, subscribers get what comes in order, and a ring of
// past events serves those who ask for what was before.
package event

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// Past is how many past events an Exchange remembers when it is not told: as many as Docker does.
const Past = 256

// buffer is how many events a subscriber may be behind when it does not say.
const buffer = 1024

// Envelope is one event with what every event has.
type Envelope struct {
	Time      time.Time
	Namespace string
	Topic     string // "/container/start"
	Event     any    // not to be changed: all subscribers get the same one
}

// Filter chooses events. Zero fields choose everything.
type Filter struct {
	Namespace string
	Topics    []string            // prefixes; one must match
	Match     func(Envelope) bool // called while publishing: must be quick and must not call the Exchange
	// Since asks for past events too, as far as they are remembered: those at or after it. Zero: none.
	Since  time.Time
	Buffer int // how many events the subscriber may be behind; 0: 1024
}

func (f Filter) match(e Envelope) bool {
	if f.Namespace != "" && f.Namespace != e.Namespace {
		return false
	}
	if len(f.Topics) > 0 && !slices.ContainsFunc(f.Topics, func(p string) bool { return strings.HasPrefix(e.Topic, p) }) {
		return false
	}
	return f.Match == nil || f.Match(e)
}

// Exchange connects publishers and subscribers. For concurrent use.
type Exchange struct {
	mu     sync.Mutex
	ring   []Envelope // past events; full when len == cap
	oldest int        // in a full ring
	subs   map[*Subscription]struct{}
	closed bool
}

// NewExchange returns an Exchange that remembers so many past events; 0 means Past.
func NewExchange(past int) *Exchange {
	if past <= 0 {
		past = Past
	}
	return &Exchange{ring: make([]Envelope, 0, past), subs: map[*Subscription]struct{}{}}
}

// Subscription is one subscriber's end.
type Subscription struct {
	// C brings the events; it is closed when the subscription ends, and Err says why.
	C        <-chan Envelope
	c        chan Envelope
	exchange *Exchange
	filter   Filter
	stop     func() bool
	err      error
}

// Publish tells every subscriber, in the same order to each, and returns at once. A subscriber whose buffer is full
// is ended rather than given a stream with a hole.
func (x *Exchange) Publish(ns, topic string, event any) {
	x.publish(Envelope{Time: time.Now(), Namespace: ns, Topic: topic, Event: event})
}

func (x *Exchange) publish(e Envelope) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return
	}
	if len(x.ring) < cap(x.ring) {
		x.ring = append(x.ring, e)
	} else {
		x.ring[x.oldest] = e
		x.oldest = (x.oldest + 1) % len(x.ring)
	}
	for s := range x.subs {
		if !s.filter.match(e) {
			continue
		}
		select {
		case s.c <- e:
		default:
			x.end(s, errdefs.ResourceExhausted("events: this client is %d events behind: subscribe again with a time to start from", cap(s.c)))
		}
	}
}

// Subscribe begins a subscription that ends with ctx, by Close of either side, or when its reader falls behind.
// With Since, past events come first, without a gap or a double at the seam.
func (x *Exchange) Subscribe(ctx context.Context, f Filter) *Subscription {
	size := f.Buffer
	if size <= 0 {
		size = buffer
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	var past []Envelope
	if !f.Since.IsZero() {
		past = x.past(f)
	}
	c := make(chan Envelope, size+len(past))
	for _, e := range past {
		c <- e
	}
	s := &Subscription{C: c, c: c, exchange: x, filter: f}
	x.subs[s] = struct{}{}
	if x.closed {
		x.end(s, errdefs.Unavailable("events: the exchange is closed"))
		return s
	}
	s.stop = context.AfterFunc(ctx, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.end(s, errdefs.With(errdefs.ErrCancelled, fmt.Errorf("events: %w", ctx.Err())))
	})
	return s
}

// Subscribers is the number of subscriptions that last.
func (x *Exchange) Subscribers() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.subs)
}

// past returns the remembered events that the filter chooses, oldest first. The lock is held.
func (x *Exchange) past(f Filter) []Envelope {
	var list []Envelope
	for i := range x.ring {
		e := x.ring[(x.oldest+i)%len(x.ring)]
		if !e.Time.Before(f.Since) && f.match(e) {
			list = append(list, e)
		}
	}
	return list
}

// end ends a subscription once. The lock is held.
func (x *Exchange) end(s *Subscription, err error) {
	if _, on := x.subs[s]; !on {
		return
	}
	delete(x.subs, s)
	s.err = err
	close(s.c)
	if s.stop != nil {
		s.stop()
	}
}

// Close ends the subscription; events that are in its buffer can still be read.
func (s *Subscription) Close() {
	s.exchange.mu.Lock()
	defer s.exchange.mu.Unlock()
	s.exchange.end(s, nil)
}

// Err says why the subscription ended: nil while it lasts and after its Close.
func (s *Subscription) Err() error {
	s.exchange.mu.Lock()
	defer s.exchange.mu.Unlock()
	return s.err
}

// Close ends all subscriptions; what is published afterwards is dropped.
func (x *Exchange) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	for s := range x.subs {
		x.end(s, errdefs.Unavailable("events: the daemon is shutting down"))
	}
}
