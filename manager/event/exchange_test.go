package event

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

func take(t *testing.T, s *Subscription, n int) []any {
	t.Helper()
	var got []any
	for range n {
		select {
		case e, open := <-s.C:
			if !open {
				t.Fatalf("ended after %v: %v", got, s.Err())
			}
			got = append(got, e.Event)
		case <-time.After(10 * time.Second):
			t.Fatalf("only %v came", got)
		}
	}
	return got
}

func TestOrderAndFilter(t *testing.T) {
	x := NewExchange(0)
	all := x.Subscribe(t.Context(), Filter{})
	some := x.Subscribe(t.Context(), Filter{Namespace: "moby", Topics: []string{"/container/"}, Match: func(e Envelope) bool { return e.Event != 3 }})
	for i, topic := range []string{"/container/start", "/image/pull", "/container/die", "/container/x", "/container/destroy"} {
		ns := "moby"
		if i == 2 {
			ns = "k8s.io"
		}
		x.Publish(ns, topic, i)
	}
	for i, v := range take(t, all, 5) {
		if v != i {
			t.Errorf("event %d is %v", i, v)
		}
	}
	if got := take(t, some, 2); got[0] != 0 || got[1] != 4 {
		t.Errorf("filtered: %v", got)
	}
	some.Close()
	some.Close()
	if _, open := <-some.C; open || some.Err() != nil {
		t.Errorf("closed: %v", some.Err())
	}
}

func TestSince(t *testing.T) {
	x := NewExchange(4)
	begin := time.Unix(1000, 0)
	for i := range 10 {
		x.publish(Envelope{Time: begin.Add(time.Duration(i) * time.Second), Namespace: "n", Topic: "/t", Event: i})
	}
	s := x.Subscribe(t.Context(), Filter{Since: begin.Add(7 * time.Second), Buffer: 1})
	x.Publish("n", "/t", 10)
	if got := take(t, s, 4); got[0] != 7 || got[2] != 9 || got[3] != 10 {
		t.Errorf("since: %v", got)
	}
	if got := x.past(Filter{}); len(got) != 4 || got[0].Event != 7 || got[3].Event != 10 {
		t.Errorf("past: %v", got)
	}
	if s := x.Subscribe(t.Context(), Filter{}); len(s.C) != 0 {
		t.Error("past events came unasked")
	}
}

func TestEnds(t *testing.T) {
	x := NewExchange(0)
	slow := x.Subscribe(t.Context(), Filter{Buffer: 2})
	ctx, cancel := context.WithCancel(t.Context())
	gone := x.Subscribe(ctx, Filter{})
	last := x.Subscribe(t.Context(), Filter{})
	for i := range 5 {
		x.Publish("n", "/t", i)
	}
	take(t, slow, 2)
	if _, open := <-slow.C; open || !errdefs.Is(slow.Err(), errdefs.ErrResourceExhausted) {
		t.Errorf("slow: %v", slow.Err())
	}
	cancel()
	for range gone.C {
	}
	if !errdefs.Is(gone.Err(), errdefs.ErrCancelled) {
		t.Errorf("cancelled: %v", gone.Err())
	}
	x.Close()
	take(t, last, 5)
	if _, open := <-last.C; open || !errdefs.Is(last.Err(), errdefs.ErrUnavailable) {
		t.Errorf("at the end: %v", last.Err())
	}
	x.Publish("n", "/t", 1)
	late := x.Subscribe(t.Context(), Filter{})
	if _, open := <-late.C; open {
		t.Error("a subscription to a closed exchange lives")
	}
	if n := x.Subscribers(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
}

func TestConcurrent(t *testing.T) {
	x := NewExchange(16)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 500 {
				x.Publish("n", "/t", i)
			}
		})
		wg.Go(func() {
			for range 100 {
				s := x.Subscribe(t.Context(), Filter{Since: time.Unix(0, 1), Buffer: 4})
				<-s.C
				s.Close()
			}
		})
	}
	x.Publish("n", "/t", 0)
	wg.Wait()
}

func BenchmarkPublish(b *testing.B) {
	x := NewExchange(0)
	s := x.Subscribe(b.Context(), Filter{})
	go func() {
		for range s.C {
		}
	}()
	for b.Loop() {
		x.Publish("n", "/t", 1)
	}
}
