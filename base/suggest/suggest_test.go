package suggest

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"start", "stats", "stop", "--data-root", "--exec-root", "dns"}
	for word, want := range map[string]string{
		"strat": "start", "tsats": "stats", "stp": "stop", "--data-rot": "--data-root", "--dataroot": "--data-root", "dsn": "dns",
		"elephant": "", "x": "", "": "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"abcd", "acbd", 1}, {"abc", "xyz", 3}} {
		if got := distance(c.a, c.b); got != c.want || distance(c.b, c.a) != c.want {
			t.Errorf("%q %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
