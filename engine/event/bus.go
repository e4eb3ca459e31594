// Package event is Docker's view of the house's events: it puts Docker's messages into manager/event's envelopes, and
// takes them out for GET /events.
package event

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/event"
)

// Bus publishes and reads the Docker events of one namespace.
type Bus struct {
	exchange  *event.Exchange
	namespace string
}

// NewBus returns the Bus of a namespace on an exchange.
func NewBus(x *event.Exchange, namespace string) *Bus { return &Bus{exchange: x, namespace: namespace} }

// Publish tells one event; the time is now. Nobody is waited for.
func (b *Bus) Publish(kind events.Type, action events.Action, id string, attrs map[string]string) {
	b.exchange.Publish(b.namespace, "/"+string(kind)+"/"+string(action), events.Message{
		Type: kind, Action: action, Actor: events.Actor{ID: id, Attributes: attrs}, Scope: "local",
	})
}

// message is the Docker event in an envelope.
func message(e event.Envelope) (events.Message, bool) {
	m, ok := e.Event.(events.Message)
	m.Time, m.TimeNano = e.Time.Unix(), e.Time.UnixNano()
	return m, ok
}

// Listeners is the number of clients that listen.
func (b *Bus) Listeners() int { return b.exchange.Subscribers() }

// Events calls emit for the past events since since (when it is set), then for each new one, until ctx ends, until
// is reached, or emit fails. With neither since nor until only new ones are told.
func (b *Bus) Events(ctx context.Context, since, until time.Time, f docker.Filters, emit func(events.Message) error) error {
	if since.IsZero() && !until.IsZero() {
		since = time.Unix(0, 1) // all that are remembered
	}
	if !until.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	sub := b.exchange.Subscribe(ctx, event.Filter{Namespace: b.namespace, Since: since, Match: func(e event.Envelope) bool {
		m, ok := message(e)
		return ok && Matches(f, m)
	}})
	defer sub.Close()
	for e := range sub.C {
		if !until.IsZero() && e.Time.After(until) {
			continue
		}
		m, _ := message(e)
		if err := emit(m); err != nil {
			return err
		}
	}
	if err := sub.Err(); !errdefs.Is(err, errdefs.ErrCancelled) {
		return err
	}
	return nil // the client has gone, or until has come
}
