// Package snapshottest is the suite that every snapshotter passes. It needs root: it mounts, detached.
package snapshottest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// Run tests what open makes; it is called once per test, with a store of its own.
func Run(t *testing.T, open func(t *testing.T) snapshot.Snapshotter) {
	for name, test := range map[string]func(*testing.T, snapshot.Snapshotter){
		"Layers": layers, "Errors": errs, "Whiteouts": whiteouts, "View": view, "Owner": owner,
		"Race": race, "Usage": usage, "ManyLayers": manyLayers, "Walk": walk, "Volatile": volatileSnapshots, "Onto": onto,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// at mounts a snapshot detached and gives fn its directory.
func at(t *testing.T, mounts []mount.Mount, fn func(dir int)) {
	t.Helper()
	f, err := rootfs.Detach(mounts, 0)
	if err != nil {
		t.Fatal(err)
	}
	fn(int(f.Fd()))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// onto: layers that were filled side by side come onto each other; what has a parent, or none that is whole, does not.
func onto(t *testing.T, s snapshot.Snapshotter) {
	stack, ok := s.(snapshot.Stacker)
	if !ok {
		return
	}
	ctx := t.Context()
	first := must[[]mount.Mount](t)(s.Prepare(ctx, "a", ""))
	second := must[[]mount.Mount](t)(s.Prepare(ctx, "b", ""))
	if !stack.Stacks() {
		if _, err := stack.Onto(ctx, "b", "x"); !errdefs.Is(err, errdefs.ErrNotImplemented) {
			t.Errorf("a driver that cannot: %v", err)
		}
		return
	}
	at(t, second, func(dir int) { write(t, dir, "upper", "2") })
	at(t, first, func(dir int) {
		write(t, dir, "lower", "1")
		if err := unix.Fchmodat(dir, ".", 0o711, 0); err != nil {
			t.Fatal(err)
		}
	})
	for _, parent := range []string{"a", "none"} { // active, and not there
		if _, err := stack.Onto(ctx, "b", parent); err == nil {
			t.Errorf("came onto %s", parent)
		}
	}
	if err := s.Commit(ctx, "A", "a"); err != nil {
		t.Fatal(err)
	}
	at(t, must[[]mount.Mount](t)(stack.Onto(ctx, "b", "A")), func(dir int) {
		if got := read(t, dir, "lower") + read(t, dir, "upper"); got != "12" {
			t.Errorf("the files are %q", got)
		}
		var st unix.Stat_t
		if err := unix.Fstat(dir, &st); err != nil || st.Mode&0o777 != 0o711 {
			t.Errorf("the root's mode is %o: %v", st.Mode&0o777, err)
		}
	})
	if _, err := stack.Onto(ctx, "b", "A"); err == nil {
		t.Error("came onto a second parent")
	}
	if err := s.Remove(ctx, "A"); err == nil {
		t.Error("a parent was removed")
	}
	if err := s.Commit(ctx, "B", "b"); err != nil {
		t.Fatal(err)
	}
	if info := must[snapshot.Info](t)(s.Stat(ctx, "B")); info.Parent != "A" {
		t.Errorf("its parent is %q", info.Parent)
	}
	for _, key := range []string{"B", "A"} {
		if err := s.Remove(ctx, key); err != nil {
			t.Error(err)
		}
	}
}

func write(t *testing.T, dir int, name, text string) {
	t.Helper()
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// read returns a file's text, "" when it is not there.
func read(t *testing.T, dir int, name string) string {
	t.Helper()
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return ""
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	buf := make([]byte, 4096)
	n, _ := f.Read(buf)
	return string(buf[:n])
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// commit makes the committed snapshot name from what fill writes.
func commit(t *testing.T, s snapshot.Snapshotter, name, parent string, fill func(dir int)) {
	t.Helper()
	key := "x-" + name
	at(t, must[[]mount.Mount](t)(s.Prepare(t.Context(), key, parent)), fill)
	check(t, s.Commit(t.Context(), name, key))
}

func layers(t *testing.T, s snapshot.Snapshotter) {
	commit(t, s, "base", "", func(d int) { write(t, d, "a", "1"); write(t, d, "b", "1") })
	commit(t, s, "top", "base", func(d int) { write(t, d, "b", "2"); write(t, d, "c", "2") })
	for _, key := range []string{"c1", "c2"} {
		at(t, must[[]mount.Mount](t)(s.Prepare(t.Context(), key, "top")), func(d int) {
			for name, want := range map[string]string{"a": "1", "b": "2", "c": "2", "mine": ""} {
				if got := read(t, d, name); got != want {
					t.Errorf("%s: %s is %q, want %q", key, name, got, want)
				}
			}
			write(t, d, "mine", key)
			write(t, d, "a", key)
		})
		// Mounted again, it is as it was left.
		at(t, must[[]mount.Mount](t)(s.Mounts(t.Context(), key)), func(d int) {
			if got := read(t, d, "mine") + read(t, d, "a"); got != key+key {
				t.Errorf("%s: second mount has %q", key, got)
			}
		})
	}
	i := must[snapshot.Info](t)(s.Stat(t.Context(), "top"))
	if i.Kind != snapshot.Committed || i.Parent != "base" || i.CreatedAt.IsZero() || i.Size == 0 {
		t.Errorf("stat: %+v", i)
	}
	if i := must[snapshot.Info](t)(s.Stat(t.Context(), "c1")); i.Kind != snapshot.Active || i.Parent != "top" {
		t.Errorf("stat: %+v", i)
	}
}

func errs(t *testing.T, s snapshot.Snapshotter) {
	ctx := t.Context()
	commit(t, s, "base", "", func(int) {})
	_ = must[[]mount.Mount](t)(s.Prepare(ctx, "c", "base"))
	_ = must[[]mount.Mount](t)(s.View(ctx, "v", "base"))
	prepare := func(key, parent string) error { _, err := s.Prepare(ctx, key, parent); return err }
	view := func(key, parent string) error { _, err := s.View(ctx, key, parent); return err }
	mounts := func(key string) error { _, err := s.Mounts(ctx, key); return err }
	for _, c := range []struct {
		what  string
		err   error
		class errdefs.Class
	}{
		{"prepare taken", prepare("c", "base"), errdefs.ErrAlreadyExists},
		{"prepare committed's name", prepare("base", ""), errdefs.ErrAlreadyExists},
		{"view taken", view("c", "base"), errdefs.ErrAlreadyExists},
		{"prepare on nothing", prepare("d", "none"), errdefs.ErrNotFound},
		{"prepare on active", prepare("d", "c"), errdefs.ErrInvalidArgument},
		{"prepare on view", prepare("d", "v"), errdefs.ErrInvalidArgument},
		{"prepare without key", prepare("", ""), errdefs.ErrInvalidArgument},
		{"mounts of nothing", mounts("none"), errdefs.ErrNotFound},
		{"mounts of committed", mounts("base"), errdefs.ErrFailedPrecondition},
		{"commit to taken", s.Commit(ctx, "base", "c"), errdefs.ErrAlreadyExists},
		{"commit of view", s.Commit(ctx, "n", "v"), errdefs.ErrFailedPrecondition},
		{"commit of nothing", s.Commit(ctx, "n", "none"), errdefs.ErrNotFound},
		{"commit without name", s.Commit(ctx, "", "c"), errdefs.ErrInvalidArgument},
		{"remove with children", s.Remove(ctx, "base"), errdefs.ErrFailedPrecondition},
		{"remove nothing", s.Remove(ctx, "none"), errdefs.ErrNotFound},
	} {
		if !errdefs.Is(c.err, c.class) {
			t.Errorf("%s: %v, want %s", c.what, c.err, c.class)
		}
	}
	check(t, s.Remove(ctx, "c"))
	check(t, s.Remove(ctx, "v"))
	check(t, s.Remove(ctx, "base"))
	if _, err := s.Stat(ctx, "base"); !errdefs.IsNotFound(err) {
		t.Errorf("stat of removed: %v", err)
	}
	check(t, prepare("c", ""))
}

func whiteouts(t *testing.T, s snapshot.Snapshotter) {
	commit(t, s, "base", "", func(d int) {
		check(t, unix.Mkdirat(d, "dir", 0o755))
		write(t, d, "dir/gone", "1")
		write(t, d, "gone", "1")
		write(t, d, "kept", "1")
	})
	commit(t, s, "top", "base", func(d int) {
		check(t, unix.Unlinkat(d, "gone", 0))
		check(t, unix.Unlinkat(d, "dir/gone", 0))
		check(t, unix.Unlinkat(d, "dir", unix.AT_REMOVEDIR))
		check(t, unix.Mkdirat(d, "dir", 0o700))
	})
	at(t, must[[]mount.Mount](t)(s.Prepare(t.Context(), "c", "top")), func(d int) {
		if got := read(t, d, "gone") + read(t, d, "dir/gone") + read(t, d, "kept"); got != "1" {
			t.Errorf("removed files: %q", got)
		}
	})
}

func view(t *testing.T, s snapshot.Snapshotter) {
	commit(t, s, "base", "", func(d int) { write(t, d, "a", "1") })
	commit(t, s, "top", "base", func(d int) { write(t, d, "b", "2") })
	for key, parent := range map[string]string{"v0": "", "v1": "base", "v2": "top"} {
		mounts := must[[]mount.Mount](t)(s.View(t.Context(), key, parent))
		at(t, mounts, func(d int) {
			_, err := unix.Openat(d, "new", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			if !errors.Is(err, unix.EROFS) {
				t.Errorf("view of %q can be written: %v", parent, err)
			}
			want := map[string]string{"": "", "base": "1", "top": "12"}[parent]
			if got := read(t, d, "a") + read(t, d, "b"); got != want {
				t.Errorf("view of %q has %q", parent, got)
			}
		})
		if again := must[[]mount.Mount](t)(s.Mounts(t.Context(), key)); !slices.EqualFunc(mounts, again, sameMount) {
			t.Errorf("mounts %v, then %v", mounts, again)
		}
	}
}

func sameMount(a, b mount.Mount) bool {
	return a.Type == b.Type && a.Source == b.Source && slices.Equal(a.Options, b.Options)
}

// owner: the root directory's owner and mode go up through the layers.
func owner(t *testing.T, s snapshot.Snapshotter) {
	commit(t, s, "base", "", func(d int) {
		check(t, unix.Fchownat(d, ".", 1234, 2345, 0))
		check(t, unix.Fchmodat(d, ".", 0o1770, 0))
	})
	commit(t, s, "top", "base", func(int) {})
	for i, parent := range []string{"base", "top"} {
		at(t, must[[]mount.Mount](t)(s.Prepare(t.Context(), fmt.Sprint("c", i), parent)), func(d int) {
			var st unix.Stat_t
			check(t, unix.Fstatat(d, ".", &st, 0))
			if st.Uid != 1234 || st.Gid != 2345 || st.Mode&0o7777 != 0o1770 {
				t.Errorf("on %s: %d:%d %o", parent, st.Uid, st.Gid, st.Mode)
			}
		})
	}
}

// race: of many who do the same, one succeeds.
func race(t *testing.T, s snapshot.Snapshotter) {
	ctx := t.Context()
	commit(t, s, "base", "", func(int) {})
	many := func(class errdefs.Class, do func(i int) error) {
		t.Helper()
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 20 {
			wg.Go(func() {
				err := do(i)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errdefs.Is(err, class) && !errdefs.Is(err, errdefs.ErrUnavailable) {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("%d succeeded", won)
		}
	}
	many(errdefs.ErrAlreadyExists, func(int) error { _, err := s.Prepare(ctx, "c", "base"); return err })
	for i := range 20 {
		_ = must[[]mount.Mount](t)(s.Prepare(ctx, fmt.Sprint("x", i), "base"))
	}
	many(errdefs.ErrAlreadyExists, func(i int) error { return s.Commit(ctx, "layer", fmt.Sprint("x", i)) })
	many(errdefs.ErrNotFound, func(int) error { return s.Remove(ctx, "c") })
	// Removing a parent and preparing on it: never both.
	for i := range 20 {
		parent := fmt.Sprint("p", i)
		commit(t, s, parent, "", func(int) {})
		var wg sync.WaitGroup
		var removed, prepared error
		wg.Go(func() { removed = s.Remove(ctx, parent) })
		wg.Go(func() { _, prepared = s.Prepare(ctx, "on-"+parent, parent) })
		wg.Wait()
		if (removed == nil) == (prepared == nil) {
			t.Errorf("remove: %v, prepare: %v", removed, prepared)
		}
	}
}

func usage(t *testing.T, s snapshot.Snapshotter) {
	at(t, must[[]mount.Mount](t)(s.Prepare(t.Context(), "c", "")), func(d int) {
		write(t, d, "f", strings.Repeat("x", 1<<20))
		check(t, unix.Linkat(d, "f", d, "g", 0))
	})
	u := must[snapshot.Usage](t)(s.Usage(t.Context(), "c"))
	if u.Size < 1<<20 || u.Size > 1<<20+64<<10 || u.Inodes != 2 {
		t.Errorf("usage %+v", u)
	}
	check(t, s.Commit(t.Context(), "layer", "c"))
	if i := must[snapshot.Info](t)(s.Stat(t.Context(), "layer")); i.Size != u.Size {
		t.Errorf("size %d, usage %d", i.Size, u.Size)
	}
}

// manyLayers: docker allows 127; the kernel's overlay 500.
func manyLayers(t *testing.T, s snapshot.Snapshotter) {
	const n = 130 // a native store copies each layer's files again and again
	parent := ""
	for i := range n {
		name := fmt.Sprint("layer", i)
		commit(t, s, name, parent, func(d int) { write(t, d, fmt.Sprint("f", i), "x"); write(t, d, "last", name) })
		parent = name
	}
	at(t, must[[]mount.Mount](t)(s.Prepare(t.Context(), "c", parent)), func(d int) {
		for i := range n {
			if read(t, d, fmt.Sprint("f", i)) != "x" {
				t.Errorf("file of layer %d is missing", i)
			}
		}
		if got := read(t, d, "last"); got != parent {
			t.Errorf("the order is wrong: %s", got)
		}
	})
}

func walk(t *testing.T, s snapshot.Snapshotter) {
	commit(t, s, "z", "", func(int) {})
	commit(t, s, "y", "z", func(int) {})
	_ = must[[]mount.Mount](t)(s.Prepare(t.Context(), "c", "y", snapshot.WithLabels(map[string]string{"k": "v"})))
	var keys []string
	err := s.Walk(t.Context(), func(i snapshot.Info) error {
		keys = append(keys, i.Key)
		if i.Key == "c" && i.Labels["k"] != "v" {
			t.Errorf("labels %v", i.Labels)
		}
		_, err := s.Stat(context.Background(), i.Key)
		return err
	})
	if err != nil || !slices.Equal(keys, []string{"z", "y", "c"}) {
		t.Errorf("walk: %v, %v", keys, err)
	}
	stop := errors.New("stop")
	if err := s.Walk(t.Context(), func(snapshot.Info) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("walk: %v", err)
	}
}

// volatileSnapshots can be mounted again and again, and committed.
func volatileSnapshots(t *testing.T, s snapshot.Snapshotter) {
	commit(t, s, "base", "", func(d int) { write(t, d, "a", "1") })
	mounts := must[[]mount.Mount](t)(s.Prepare(t.Context(), "c", "base", snapshot.Volatile()))
	for range 3 {
		at(t, mounts, func(d int) { write(t, d, "b", "2") })
		mounts = must[[]mount.Mount](t)(s.Mounts(t.Context(), "c"))
	}
	check(t, s.Commit(t.Context(), "layer", "c"))
	at(t, must[[]mount.Mount](t)(s.View(t.Context(), "v", "layer")), func(d int) {
		if got := read(t, d, "a") + read(t, d, "b"); got != "12" {
			t.Errorf("after commit: %q", got)
		}
	})
}
