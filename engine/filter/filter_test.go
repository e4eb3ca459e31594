package filter

import (
	"testing"
	"time"

	"github.com/conex-containers/conex/api/docker"
)

func TestLabels(t *testing.T) {
	labels := map[string]string{"a": "1", "b": ""}
	for _, c := range []struct {
		f    docker.Filters
		want bool
	}{
		{nil, true},
		{docker.Filters{"label": {"a": true}}, true},
		{docker.Filters{"label": {"a=1": true, "b": true}}, true},
		{docker.Filters{"label": {"a=2": true}}, false},
		{docker.Filters{"label": {"a": true, "c": true}}, false},
		{docker.Filters{"label!": {"c": true}}, true},
		{docker.Filters{"label!": {"a=1": true}}, false},
	} {
		if got := Labels(c.f, labels); got != c.want {
			t.Errorf("%v: %v", c.f, got)
		}
	}
}

func TestTime(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"10m": now.Add(-10 * time.Minute), "1700000000": time.Unix(1700000000, 0), "1700000000.5": time.Unix(1700000000, 500000000),
		"2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "2026-01-02": time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
	} {
		if got, err := Time(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "soon", "1.2.3", "2026-13-01"} {
		if got, err := Time(bad, now); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestBool(t *testing.T) {
	if v, err := Bool(docker.Filters{"x": {"true": true}}, "x", false); err != nil || !v {
		t.Error(v, err)
	}
	if _, err := Bool(docker.Filters{"x": {"perhaps": true}}, "x", false); err == nil {
		t.Error("perhaps is accepted")
	}
	if err := Known(docker.Filters{"nope": {}}, "x"); err == nil || err.Error() != "invalid filter 'nope'" {
		t.Error(err)
	}
}

func FuzzTime(f *testing.F) {
	f.Add("10m")
	f.Add("1700000000.123456789")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = Time(s, time.Unix(0, 0)) })
}
