package event

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/manager/event"
)

func TestEvents(t *testing.T) {
	b := NewBus(event.NewExchange(0), "moby")
	began := time.Now()
	b.Publish(events.ContainerEventType, events.ActionStart, "old", nil)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var seen []string
	all := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- b.Events(ctx, began, time.Time{}, docker.Filters{"type": {"container": true}}, func(m events.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if seen = append(seen, m.Actor.ID); len(seen) == 101 {
				close(all)
			}
			return nil
		})
	}()
	for i := range 100 {
		b.Publish(events.ContainerEventType, events.ActionStart, fmt.Sprint(i), nil)
		b.Publish(events.ImageEventType, events.ActionPull, "not this", nil)
	}
	select {
	case <-all:
	case <-time.After(20 * time.Second):
		t.Fatal("not all came")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if seen[0] != "old" || seen[100] != "99" {
		t.Errorf("order: %v", seen)
	}
	if b.Listeners() != 0 {
		t.Error("the listener is still there")
	}
}

func TestUntilEnds(t *testing.T) {
	b := NewBus(event.NewExchange(0), "moby")
	for i := range event.Past + 10 {
		b.Publish(events.ImageEventType, events.ActionPull, fmt.Sprint(i), nil)
	}
	n := 0
	err := b.Events(t.Context(), time.Time{}, time.Now().Add(time.Millisecond), nil, func(events.Message) error { n++; return nil })
	if err != nil || n != event.Past {
		t.Errorf("%d past events, %v", n, err)
	}
	stop := errors.New("stop")
	if err := b.Events(t.Context(), time.Unix(1, 0), time.Time{}, nil, func(events.Message) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("emit's error: %v", err)
	}
}

func TestMatches(t *testing.T) {
	m := events.Message{
		Type: events.ContainerEventType, Action: "exec_create: sh -c x", Scope: "local",
		Actor: events.Actor{ID: "abcdef", Attributes: map[string]string{"name": "web", "image": "nginx:1.25", "tier": "front"}},
	}
	for key, values := range map[string][]string{
		"event": {"exec_create", "exec_create: sh -c x"}, "type": {"container"}, "container": {"abc", "web", "/web"},
		"image": {"nginx", "nginx:1.25"}, "label": {"tier", "tier=front"}, "scope": {"local"},
	} {
		for _, v := range values {
			if !Matches(docker.Filters{key: {v: true}}, m) {
				t.Errorf("%s=%s does not match", key, v)
			}
		}
	}
	for key, v := range map[string]string{"event": "exec_start", "type": "image", "container": "b", "image": "nginx:1", "label": "tier=back", "unknown": "x", "volume": "web"} {
		if Matches(docker.Filters{key: {v: true}}, m) {
			t.Errorf("%s=%s matches", key, v)
		}
	}
	if !Matches(docker.Filters{"type": {"image": true, "container": true}}, m) {
		t.Error("one of two values is not enough")
	}
}
