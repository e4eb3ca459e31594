// Package event tells containerd what happens to a shim's containers, in the order in which it happened, and loses
// nothing while containerd is away: what cannot be delivered waits, the newest of a long queue in a file.
//
//	Publish -> memory (up to keep) -> Forward call -> containerd
//	              \-> spool file ----/   when memory is full
package event

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/conex-containers/conex/api/shim/taskapi"
	"github.com/conex-containers/conex/api/shim/ttrpc"
	"github.com/conex-containers/conex/api/shim/wire"
)

// Bounds of a delivery: one call, and the pauses between tries.
const (
	callBound  = 10 * time.Second
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// refusals is how often containerd may answer an event with an error before it is given up: containerd is there, and
// does not want it (the namespace was removed).
const refusals = 5

// Publisher delivers events one after the other.
type Publisher struct {
	address   string // path of containerd's ttrpc socket
	namespace string
	log       *slog.Logger

	mu      sync.Mutex
	queue   queue
	wake    *sync.Cond // an event came, or the queue ran empty, or Close
	closing bool

	conn *ttrpc.Client // of the sender alone
}

// New returns a publisher to the ttrpc socket at address (unix:// may be in front), which spools in dir. With an
// empty address it is nil, and nothing is told.
func New(address, namespace, dir string, log *slog.Logger) *Publisher {
	if address == "" {
		return nil
	}
	p := &Publisher{address: strings.TrimPrefix(address, "unix://"), namespace: namespace, log: log, queue: queue{dir: dir}}
	p.wake = sync.NewCond(&p.mu)
	go p.send()
	return p
}

// Publish queues an event, with the present time.
func (p *Publisher) Publish(e taskapi.Event) {
	if p == nil {
		return
	}
	envelope := wire.Marshal(&taskapi.Envelope{
		Timestamp: wire.At(time.Now()), Namespace: p.namespace, Topic: e.Topic(),
		Event: &wire.Any{TypeURL: taskapi.EventTypePrefix + e.Name(), Value: wire.Marshal(e)},
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.queue.push(envelope); err != nil {
		p.log.Error("an event is kept in memory: it cannot be spooled", "op", "event", "topic", e.Topic(), "err", err)
	}
	p.wake.Broadcast()
}

// Close waits until everything is delivered, no longer than the bound.
func (p *Publisher) Close(bound time.Duration) {
	if p == nil {
		return
	}
	timer := time.AfterFunc(bound, func() {
		p.mu.Lock()
		p.closing = true
		p.mu.Unlock()
		p.wake.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closing && !p.queue.empty() {
		p.wake.Wait()
	}
	p.closing = true
	p.wake.Broadcast()
}

// send delivers the queue until Close.
func (p *Publisher) send() {
	for {
		p.mu.Lock()
		for p.queue.empty() && !p.closing {
			p.wake.Wait()
		}
		if p.closing {
			p.mu.Unlock()
			return
		}
		envelope, err := p.queue.first()
		p.mu.Unlock()
		if err != nil {
			p.log.Error("spooled events are lost", "op", "event", "err", err)
		}
		if envelope != nil && !p.deliver(envelope) {
			return
		}
		p.mu.Lock()
		p.queue.pop()
		p.wake.Broadcast()
		p.mu.Unlock()
	}
}

// deliver tries until containerd has one event; false: the publisher was closed meanwhile.
func (p *Publisher) deliver(envelope []byte) bool {
	pause := firstPause
	for refused := 0; refused < refusals; {
		err := p.forward(envelope)
		if err == nil {
			return true
		}
		var status *ttrpc.Status
		if errors.As(err, &status) && status.Code != ttrpc.Unavailable {
			refused++
			p.log.Warn("containerd refuses an event", "op", "event", "err", err)
		} else if p.conn != nil {
			_ = p.conn.Close()
			p.conn = nil
		}
		time.Sleep(pause)
		pause = min(2*pause, lastPause)
		p.mu.Lock()
		closing := p.closing
		p.mu.Unlock()
		if closing {
			return false
		}
	}
	return true
}

func (p *Publisher) forward(envelope []byte) error {
	if p.conn == nil {
		conn, err := net.Dial("unix", p.address)
		if err != nil {
			return err
		}
		p.conn = ttrpc.NewClient(conn)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callBound)
	defer cancel()
	return taskapi.Forward(ctx, p.conn, envelope)
}
