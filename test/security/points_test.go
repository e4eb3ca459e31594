package security

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// The same racer, and a mount whose mount point has to be made first: runc's MkdirAll followed the link and left
// empty files and directories on the host, wherever the attacker pointed (CVE-2024-45310).
//
// The guard: linux/safepath MkdirAll and File make every element by mkdirat(2) or openat(2) in the descriptor of its
// parent, which was opened inside the root.
func TestMountPointRace(t *testing.T) {
	b := newBundle(t)
	dir, intact := canary(t)
	shared := b.dir + "/shared"
	b.must(os.MkdirAll(shared+"/a", 0o755))
	b.must(os.Symlink(b.twin(dir), shared+"/l"))
	file := b.dir + "/file"
	b.must(os.WriteFile(file, nil, 0o644))
	b.spec.Mounts = append(b.spec.Mounts,
		specs.Mount{Destination: "/vol", Type: "bind", Source: shared, Options: []string{"rbind", "rw"}},
		specs.Mount{Destination: "/vol/a/new/dir", Type: "tmpfs", Source: "attack"},
		specs.Mount{Destination: "/vol/a/newer/file", Type: "bind", Source: file, Options: []string{"bind"}})
	b.race(shared+"/a", shared+"/l", func(*made) {
		// They have to be made every time.
		for _, d := range []string{"a", "l"} {
			for _, n := range []string{"new", "newer"} {
				_ = os.Remove(filepath.Join(shared, d, n, "dir"))
				_ = os.Remove(filepath.Join(shared, d, n, "file"))
				_ = os.Remove(filepath.Join(shared, d, n))
			}
		}
	})
	intact()
	if n := naive(t, shared+"/a", shared+"/l", dir); n == 0 {
		t.Error("the control, which makes directories by their paths, was never led astray: the racer is too slow to prove anything")
	}
}

// naive is the control: it looks whether a is a directory, and then makes one in it, both by the path. It returns how
// often one came to lie in dir.
func naive(t *testing.T, a, l, dir string) int64 {
	stop, _ := exchange(t, a, l)
	defer stop()
	var astray atomic.Int64
	for i := range 200_000 {
		st, err := os.Lstat(a)
		if err != nil || !st.IsDir() {
			continue
		}
		name := "naive" + strconv.Itoa(i)
		if os.Mkdir(filepath.Join(a, name), 0o755) != nil {
			continue
		}
		if os.Remove(filepath.Join(dir, name)) == nil {
			astray.Add(1)
			break
		}
		for _, d := range []string{a, l} {
			_ = os.Remove(filepath.Join(d, name))
		}
	}
	_ = os.RemoveAll(filepath.Join(dir, "naive"))
	return astray.Load()
}
