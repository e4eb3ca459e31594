package lease

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

func newManager(t *testing.T) *Manager {
	db, err := metadata.Open(filepath.Join(t.TempDir(), "run.db"), metadata.Options{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return New(db)
}

func TestLease(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	l, err := m.Create(ctx, "moby", Options{Labels: map[string]string{"a": "b"}})
	if err != nil || l.ID == "" {
		t.Fatal(err)
	}
	if _, err := m.Create(ctx, "moby", Options{ID: l.ID}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("same id: %v", err)
	}
	if _, err := m.Create(ctx, "other", Options{ID: l.ID}); err != nil {
		t.Errorf("same id in another namespace: %v", err)
	}
	r := Resource{Content, "sha256:x"}
	for range 2 {
		if err := m.Add(ctx, "moby", l.ID, r, Resource{Snapshot, "k"}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := m.List(ctx, "moby")
	if err != nil || len(list) != 1 || len(list[0].Resources) != 2 || list[0].Labels["a"] != "b" {
		t.Errorf("list %+v, %v", list, err)
	}
	if all, err := m.All(ctx); err != nil || len(all) != 2 {
		t.Errorf("all %+v, %v", all, err)
	}
	if err := m.Release(ctx, "moby", l.ID, r); err != nil {
		t.Error(err)
	}
	if list, _ := m.List(ctx, "moby"); len(list[0].Resources) != 1 {
		t.Errorf("after release: %+v", list)
	}
	if err := m.Add(ctx, "moby", l.ID, Resource{"thing", "x"}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("unknown type: %v", err)
	}
	if err := m.Delete(ctx, "moby", l.ID); err != nil {
		t.Error(err)
	}
	for _, err := range []error{m.Delete(ctx, "moby", l.ID), m.Add(ctx, "moby", l.ID, r)} {
		if !errdefs.IsNotFound(err) {
			t.Errorf("after delete: %v", err)
		}
	}
}

func TestExpiry(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	if _, err := m.Create(ctx, "n", Options{ID: "short", Expiry: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{ID: "long", Expiry: time.Hour}, {ID: "ever"}} {
		if _, err := m.Create(ctx, "n", o); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Add(ctx, "n", "short", Resource{Snapshot, "k"}); !errdefs.IsNotFound(err) {
		t.Errorf("add to an expired one: %v", err)
	}
	if list, err := m.List(ctx, "n"); err != nil || len(list) != 2 {
		t.Errorf("list %+v, %v", list, err)
	}
	for _, want := range []int{1, 0} {
		if n, err := m.Expire(ctx); n != want || err != nil {
			t.Errorf("expired %d, %v", n, err)
		}
	}
	if err := m.EndAll(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := m.All(ctx); err != nil || len(list) != 0 {
		t.Errorf("after the end of all: %+v, %v", list, err)
	}
}

func TestHold(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	l, err := m.Create(ctx, "n", Options{Expiry: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	err = m.Hold(func() error {
		began := make(chan struct{})
		wg.Go(func() {
			close(began)
			if err := m.Add(ctx, "n", l.ID, Resource{Content, "d"}, Resource{Snapshot, "k"}); err != nil {
				t.Error(err)
			}
		})
		<-began
		list, err := m.List(ctx, "n")
		if len(list) != 1 || len(list[0].Resources) != 0 {
			t.Errorf("added while held: %+v", list)
		}
		return err
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if list, _ := m.List(ctx, "n"); len(list) != 1 || len(list[0].Resources) != 2 {
		t.Errorf("after: %+v", list)
	}
}
