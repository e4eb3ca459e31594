package lease

import (
	"slices"
	"testing"
)

// What interrupted work has brought is kept under its name, by whatever way it ended, and for no longer than it is worth.
func TestAside(t *testing.T) {
	m, ctx := newManager(t), t.Context()
	begin := func(name string, resources ...Resource) string {
		t.Helper()
		l, err := m.Create(ctx, "moby", Options{Labels: map[string]string{LabelResume: name}})
		if err == nil {
			err = m.Add(ctx, "moby", l.ID, resources...)
		}
		if err != nil {
			t.Fatal(err)
		}
		return l.ID
	}
	want := func(when string, leases int, blobs ...string) {
		t.Helper()
		list, err := m.All(ctx)
		if err != nil || len(list) != leases {
			t.Fatalf("%s: %d leases, want %d: %v %v", when, len(list), leases, list, err)
		}
		var have []string
		for _, l := range list {
			if left := l.ExpiresAt.Sub(l.UpdatedAt); left != AsideFor {
				t.Errorf("%s: kept for %v", when, left)
			}
			for _, r := range l.Resources {
				have = append(have, r.Type+" "+r.ID)
			}
		}
		slices.Sort(have)
		if !slices.Equal(have, blobs) {
			t.Errorf("%s: %v, want %v", when, have, blobs)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.SetAside(ctx, "moby", begin("pull a", Resource{Content, "1"}, Resource{Snapshot, "s"})))
	want("broken", 1, "content 1")
	begin("pull a", Resource{Content, "1"}, Resource{Content, "2"})
	begin("", Resource{Content, "nobody's"})
	must(m.EndAll(ctx))
	must(m.EndAll(ctx))
	want("killed", 1, "content 1", "content 2")
	must(m.SetAside(ctx, "moby", begin("pull b", Resource{Content, "3"})))
	want("two", 2, "content 1", "content 2", "content 3")
	must(m.DropAside(ctx, "moby", "pull a"))
	must(m.DropAside(ctx, "moby", "pull a"))
	must(m.DropAside(ctx, "other", "pull b"))
	want("done", 1, "content 3")
	must(m.DropAllAside(ctx))
	want("given up", 0)
}
