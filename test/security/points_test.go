package security

import (
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
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
		// They have to be made every time: in the volume, and where its link leads inside the root; never on the host.
		for _, d := range []string{shared + "/a", shared + "/l", b.path(dir)} {
			fd, err := os.OpenFile(d, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
			if err != nil {
				continue
			}
			for _, name := range []string{"new/dir", "newer/file", "new", "newer"} {
				removeBelow(fd, name)
			}
			_ = fd.Close()
		}
	})
	intact()
	if n := naive(t, shared+"/a", shared+"/l", dir); n == 0 {
		t.Error("the control, which makes directories by their paths, was never led astray: the racer is too slow to prove anything")
	}
}

// removeBelow removes what is at name below a directory that may have another name by now, not through links.
func removeBelow(dir *os.File, name string) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	parent, err := unix.Openat2(int(dir.Fd()), filepath.Dir(name), how)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(parent) }()
	if unix.Unlinkat(parent, filepath.Base(name), 0) == unix.EISDIR {
		_ = unix.Unlinkat(parent, filepath.Base(name), unix.AT_REMOVEDIR)
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
