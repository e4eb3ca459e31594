package container

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conex-containers/conex/linux/mount"
)

// overlayRoot stacks layers over the fixture's root; depth makes their paths longer than fsconfig(2) takes.
func (f *fixture) overlayRoot(layers int, name string) []mount.Mount {
	f.t.Helper()
	base := filepath.Join(f.bundle, name)
	lower := []string{}
	for i := range layers {
		dir := filepath.Join(base, fmt.Sprint("layer", i))
		f.must(os.MkdirAll(dir, 0o755))
		f.must(os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), nil, 0o644))
		lower = append(lower, dir)
	}
	lower = append(lower, f.path(""))
	upper, work := filepath.Join(base, "fs"), filepath.Join(base, "work")
	f.must(os.MkdirAll(upper, 0o755))
	f.must(os.MkdirAll(work, 0o755))
	return []mount.Mount{{Type: "overlay", Source: "overlay",
		Options: []string{"lowerdir=" + strings.Join(lower, ":"), "upperdir=" + upper, "workdir=" + work}}}
}

func TestOverlayRoot(t *testing.T) {
	for name, c := range map[string]struct {
		layers int
		name   string
	}{
		"few": {2, "o"}, "many": {40, "o"}, "long": {3, strings.Repeat("long-", 40)},
	} {
		f := newFixture(t)
		m := f.overlayRoot(c.layers, c.name)
		f.sh("ls /f* | wc -l; echo x >/new; grep -c overlay /proc/self/mountinfo")
		out, err := os.CreateTemp(f.bundle, "out-")
		f.must(err)
		o := f.options(out)
		o.Rootfs = m
		made, err := Create(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := &running{Container: made, t: t, out: out}
		f.must(r.Start(t.Context()))
		r.wait()
		if got, want := r.output(), fmt.Sprintf("%d\n1\n", c.layers); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if l := f.leaks(); len(l) != 0 && strings.Contains(l[0], "overlay") {
			t.Errorf("%s: in the host's mounts: %q", name, l)
		}
		f.must(r.Delete(t.Context(), false))
		if _, err := os.Stat(filepath.Join(f.bundle, c.name, "fs", "new")); err != nil {
			t.Errorf("%s: upper layer: %v", name, err)
		}
	}
}
