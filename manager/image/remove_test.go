package image

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
)

// loadAs loads a sample under names.
func loadAs(t testing.TB, s *Service, seed uint64, names ...string) Detail {
	t.Helper()
	first, err := ParseReference(names[0])
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Load(t.Context(), ns, bytes.NewReader(newSample(t, 1, 100, seed).layout(t, first.String())), LoadOptions{Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names[1:] {
		if err := s.Tag(t.Context(), ns, made[0].Target.Digest.String(), n); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.Get(t.Context(), ns, names[0])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func words(removed []Removed) string {
	var s []string
	for _, r := range removed {
		if r.Untagged != "" {
			s = append(s, "-"+r.Untagged)
		} else {
			s = append(s, "x")
		}
	}
	return strings.Join(s, " ")
}

func TestRemove(t *testing.T) {
	s := newService(t)
	collected := 0
	s.Collect = func(context.Context) (int64, error) { collected++; return 0, nil }
	d := loadAs(t, s, 50, "a:1", "a:2", "b:1")
	short := d.ID.Encoded()[:12]
	users := RemoveOptions{InUse: func(digest.Digest) []string { return []string{strings.Repeat("c", 64)} }}
	running := users
	running.Running, running.Force = users.InUse, true
	for _, c := range []struct {
		ref   string
		o     RemoveOptions
		words string // what goes, or
		err   string
	}{
		{"nothing", RemoveOptions{}, "", "No such image: nothing:latest"},
		{short, RemoveOptions{}, "", "conflict: unable to delete " + short + " (must be forced) - image is referenced in multiple repositories"},
		{short, running, "", "conflict: unable to delete " + short + " (cannot be forced) - image is being used by running container cccccccccccc"},
		{"a:2", users, "-a:2", ""}, // only a name
		{"b:1", RemoveOptions{}, "-b:1", ""},
		{"a:1", users, "", `conflict: unable to remove repository reference "a:1" (must force) - container cccccccccccc is using its referenced image ` + short},
		{short, users, "", "conflict: unable to delete " + short + " (must be forced) - image is being used by stopped container cccccccccccc"},
		{"a:1", RemoveOptions{}, "-a:1 x", ""},
	} {
		removed, err := s.Remove(t.Context(), ns, c.ref, c.o)
		if words(removed) != c.words || fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
			t.Errorf("remove %s: %v %v, want %q %q", c.ref, removed, err, c.words, c.err)
		}
		if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
			t.Errorf("class of %v: %s", err, errdefs.Of(err))
		}
	}
	if collected != 1 {
		t.Errorf("collected %d times", collected)
	}
	d = loadAs(t, s, 51, "a:1", "b:1")
	if removed, err := s.Remove(t.Context(), ns, d.ID.String(), RemoveOptions{Force: true}); err != nil || words(removed) != "-a:1 -b:1 x" {
		t.Errorf("forced: %v %v", removed, err)
	}
	if list, err := s.List(t.Context(), ns); err != nil || len(list) != 0 {
		t.Errorf("left: %v %v", list, err)
	}
}

func TestGet(t *testing.T) {
	s := newService(t)
	d := loadAs(t, s, 60, "a:1")
	loadAs(t, s, 61, "a:2", "localhost:5000/b:1")
	for _, ref := range []string{
		"a:1", "docker.io/library/a:1", d.ID.String(), d.ID.Encoded(), d.ID.Encoded()[:6], "sha256:" + d.ID.Encoded()[:9],
		"a@" + d.ID.String(), d.ConfigDigest.String(), d.ConfigDigest.Encoded()[:12],
	} {
		if got, err := s.Get(t.Context(), ns, ref); err != nil || got.ID != d.ID {
			t.Errorf("%s: %v %v", ref, got.ID, err)
		}
	}
	for ref, want := range map[string]string{
		"a": "No such image: a:latest", "a:3": "No such image: a:3", strings.Repeat("0", 64): "No such image: ",
		"sha256:" + strings.Repeat("0", 64): "No such image: ", "A B": "invalid reference format",
	} {
		if _, err := s.Get(t.Context(), ns, ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	if _, err := s.Get(t.Context(), "other", "a:1"); !errdefs.IsNotFound(err) {
		t.Errorf("another namespace: %v", err)
	}
	if len(d.Digests) != 1 || d.Digests[0] != "a@"+d.ID.String() || d.Size <= 0 || d.CreatedAt.Year() != 2023 {
		t.Errorf("%+v", d)
	}
}

func TestPrune(t *testing.T) {
	s := newService(t)
	s.Collect = func(context.Context) (int64, error) { return 4711, nil }
	old := loadAs(t, s, 70, "a:1")
	loadAs(t, s, 71, "a:1") // takes the name: the first is dangling now
	used := loadAs(t, s, 72, "used:1")
	list, err := s.List(t.Context(), ns)
	if err != nil || len(list) != 3 {
		t.Fatalf("%v %v", list, err)
	}
	o := PruneOptions{InUse: func(d digest.Digest) []string {
		if d == used.ID {
			return []string{"c"}
		}
		return nil
	}}
	for _, f := range []map[string][]string{{"label": {"seed=9"}}, {"until": {"2020-01-01"}}, {"label!": {"seed"}}} {
		o.Filters = f
		if gone, _, err := s.Prune(t.Context(), ns, o); err != nil || len(gone) != 0 {
			t.Errorf("%v: %v %v", f, gone, err)
		}
	}
	o.Filters = map[string][]string{"label": {"seed=70"}, "until": {"1h"}}
	gone, freed, err := s.Prune(t.Context(), ns, o)
	if err != nil || len(gone) != 1 || gone[0].Deleted != old.ID.String() || freed != 4711 {
		t.Errorf("%v %d %v", gone, freed, err)
	}
	o.Filters = map[string][]string{"dangling": {"false"}}
	if gone, _, err := s.Prune(t.Context(), ns, o); err != nil || words(gone) != "-a:1 x" {
		t.Errorf("%v %v", gone, err)
	}
	for _, f := range []map[string][]string{{"color": {"red"}}, {"dangling": {"x"}}, {"until": {"yesterday"}}} {
		if _, _, err := s.Prune(t.Context(), ns, PruneOptions{Filters: f}); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%v: %v", f, err)
		}
	}
}
