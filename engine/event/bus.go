// Package event tells the engine's events to whoever listens, and the last ones to who asks for the past.
package event

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// history is how many past events are kept, as dockerd does; backlog is how far a listener may fall behind before
// it is cut off, so that one that does not read costs a bounded amount of memory.
const (
	history = 256
	backlog = 8192
)

// Bus takes events and hands them to its listeners in order. The zero value is ready.
type Bus struct {
	mu        sync.Mutex
	past      []events.Message // ring
	next      int
	listeners map[*listener]struct{}
}

type listener struct {
	queue []events.Message
	wake  chan struct{} // capacity 1
	lost  bool
}

// Publish tells one event; the time is now.
func (b *Bus) Publish(kind events.Type, action events.Action, id string, attrs map[string]string) {
	now := time.Now()
	m := events.Message{
		Type: kind, Action: action, Actor: events.Actor{ID: id, Attributes: attrs}, Scope: "local",
		Time: now.Unix(), TimeNano: now.UnixNano(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.past) < history {
		b.past = append(b.past, m)
	} else {
		b.past[b.next] = m
		b.next = (b.next + 1) % history
	}
	for l := range b.listeners {
		if len(l.queue) >= backlog {
			l.lost = true
		} else {
			l.queue = append(l.queue, m)
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Listeners is the number of clients that listen.
func (b *Bus) Listeners() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.listeners)
}

// Events calls emit for the past events since since (when it is set), then for each new one, until ctx ends, until
// is reached, or emit fails. With neither since nor until only new ones are told.
func (b *Bus) Events(ctx context.Context, since, until time.Time, f docker.Filters, emit func(events.Message) error) error {
	l := &listener{wake: make(chan struct{}, 1)}
	past := b.subscribe(l, !since.IsZero() || !until.IsZero())
	defer b.unsubscribe(l)
	for _, m := range past {
		if m.TimeNano < since.UnixNano() && !since.IsZero() || !until.IsZero() && m.TimeNano > until.UnixNano() {
			continue
		}
		if Matches(f, m) {
			if err := emit(m); err != nil {
				return err
			}
		}
	}
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		}
		b.mu.Lock()
		batch, lost := l.queue, l.lost
		l.queue = nil
		b.mu.Unlock()
		for _, m := range batch {
			if Matches(f, m) {
				if err := emit(m); err != nil {
					return err
				}
			}
		}
		if lost {
			return errdefs.ResourceExhausted("events: the client reads too slowly, %d events were waiting", backlog)
		}
	}
}

func (b *Bus) subscribe(l *listener, withPast bool) []events.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = map[*listener]struct{}{}
	}
	b.listeners[l] = struct{}{}
	if !withPast {
		return nil
	}
	return append(append([]events.Message{}, b.past[b.next:]...), b.past[:b.next]...)
}

func (b *Bus) unsubscribe(l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners, l)
}
