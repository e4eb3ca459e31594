package rootfs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
)

func needRoot(t testing.TB) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// tree makes a small root file system with something of every kind.
func tree(t testing.TB) string {
	dir := t.TempDir()
	p := func(s string) string { return filepath.Join(dir, s) }
	must(t,
		os.MkdirAll(p("etc/deep/er"), 0o755),
		os.WriteFile(p("etc/passwd"), []byte("root:x:0:0"), 0o644),
		os.Symlink("/etc/passwd", p("absolute")),
		os.Symlink("../../../../../../etc/passwd", p("up")),
		os.Symlink("loop", p("loop")),
		os.Symlink("/proc/self/root/etc/hostname", p("magic")),
		os.WriteFile(p("suid"), []byte("x"), 0o755),
		os.Chown(p("suid"), 7, 8),
		os.Chmod(p("suid"), 0o755|fs.ModeSetuid),
		unix.Setxattr(p("suid"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
		unix.Setxattr(p("etc"), "user.note", []byte("v"), 0),
		unix.Setxattr(p("etc"), "trusted.overlay.opaque", []byte("y"), 0),
		unix.Mkfifo(p("fifo"), 0o600),
		unix.Mknod(p("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.Link(p("suid"), p("etc/deep/link")),
		os.Lchown(p("loop"), 9, 9),
		os.Chmod(p("etc/deep"), 0o1700),
		os.Mkdir(p("empty"), 0o755),
	)
	sparse, err := os.Create(p("sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 64<<20)
	must(t, err, sparse.Close())
	old := time.Unix(1e9, 12345)
	for _, name := range []string{"etc/passwd", "empty", "suid", "etc/deep"} {
		must(t, os.Chtimes(p(name), old, old))
	}
	return dir
}

func openRoot(t testing.TB, dir string) *Root {
	t.Helper()
	r, err := Open([]mount.Mount{{Type: "bind", Source: dir, Options: []string{"rbind", "ro"}}})
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRootLooks(t *testing.T) {
	needRoot(t)
	r := openRoot(t, tree(t))
	for _, path := range []string{"etc/passwd", "/etc/passwd", "absolute", "up", "/../../etc/passwd", "etc/../etc/passwd"} {
		if data, err := r.ReadFile(path, 100); err != nil || string(data) != "root:x:0:0" {
			t.Errorf("%s: %q %v", path, data, err)
		}
	}
	for path, class := range map[string]errdefs.Class{
		"none": errdefs.ErrNotFound, "etc/passwd/x": errdefs.ErrNotFound, "loop": errdefs.ErrInvalidArgument,
		"fifo": errdefs.ErrInvalidArgument, "magic": errdefs.ErrNotFound, strings.Repeat("x/", 3000): errdefs.ErrInvalidArgument,
	} {
		if _, err := r.Open(path); !errdefs.Is(err, class) {
			t.Errorf("%.20s: %v, want %s", path, err, class)
		}
	}
	if f, err := r.Open("null"); err == nil {
		_ = f.Close()
		t.Error("a device could be opened")
	}
	if _, err := r.ReadFile("etc/passwd", 5); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("too large: %v", err)
	}
	if st, err := r.Stat("absolute"); err != nil || !st.Mode().IsRegular() {
		t.Errorf("stat: %v %v", st, err)
	}
	if st, err := r.Lstat("absolute"); err != nil || st.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("lstat: %v %v", st, err)
	}
	if to, err := r.Readlink("up"); err != nil || to != "../../../../../../etc/passwd" {
		t.Errorf("readlink: %q %v", to, err)
	}
	list, err := r.ReadDir("/etc")
	if err != nil || len(list) != 2 || list[0].Name() != "deep" || !list[0].IsDir() || list[1].Name() != "passwd" {
		t.Errorf("readdir: %v %v", list, err)
	}
	if fd, err := unix.Openat(int(r.dir.Fd()), "new", unix.O_CREAT|unix.O_WRONLY, 0o600); err == nil {
		_ = unix.Close(fd)
		t.Error("the root can be written")
	}
}

// describe says everything of a tree that a copy must keep.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	links := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		rel, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		text := fmt.Sprintf("%o %d:%d rdev %d mtime %d.%09d", st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			must(t, err)
			text += fmt.Sprintf(" size %d %q", st.Size, strings.Trim(string(data), "\x00"))
			if first, ok := links[st.Ino]; ok {
				text += " = " + first
			}
			links[st.Ino] = rel
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			must(t, err)
			text += " -> " + to
		}
		names, err := listXattrs(path)
		must(t, err)
		for _, n := range names {
			if keepXattr(n) {
				v, err := getXattr(path, n)
				must(t, err)
				text += fmt.Sprintf(" %s=%x", n, v)
			}
		}
		out[rel] = text
		return nil
	}))
	return out
}

func TestCopyTree(t *testing.T) {
	needRoot(t)
	src, dst := tree(t), t.TempDir()
	must(t, os.Chmod(src, 0o711), os.Chown(src, 11, 12))
	d, err := os.Open(dst)
	must(t, err)
	defer func() { _ = d.Close() }()
	must(t, openRoot(t, src).CopyTree("/", d))
	want, got := describe(t, src), describe(t, dst)
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s:\n got %s\nwant %s", name, got[name], text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d names, want %d", len(got), len(want))
	}
	if v, err := getXattr(filepath.Join(dst, "etc"), "trusted.overlay.opaque"); err == nil {
		t.Errorf("overlay's own xattr was copied: %s", v)
	}
	var st syscall.Stat_t
	must(t, syscall.Stat(filepath.Join(dst, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the hole was filled: %d bytes", st.Blocks*512)
	}
	r := openRoot(t, src)
	if err := r.CopyTree("none", d); !errdefs.IsNotFound(err) {
		t.Errorf("copy of nothing: %v", err)
	}
	if err := r.CopyTree("etc/passwd", d); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("copy of a file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	from, err := os.Open(src)
	must(t, err)
	if err := Copy(ctx, from, d); !errdefs.Is(err, errdefs.ErrCancelled) {
		t.Errorf("cancelled: %v", err)
	}
	_ = from.Close()
}

// TestCopyTreeAcross copies to another file system (tmpfs, mounted detached), without reflinks and user xattrs.
func TestCopyTreeAcross(t *testing.T) {
	needRoot(t)
	dst, err := tmpfs()
	must(t, err)
	defer func() { _ = dst.Close() }()
	src := t.TempDir()
	must(t, os.WriteFile(filepath.Join(src, "f"), []byte(strings.Repeat("text", 1<<20)), 0o640), os.Link(filepath.Join(src, "f"), filepath.Join(src, "g")))
	must(t, openRoot(t, src).CopyTree(".", dst))
	data, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/g", dst.Fd()))
	if err != nil || len(data) != 4<<20 || !strings.HasSuffix(string(data), "text") {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

func tmpfs() (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

func TestRemoveTree(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "canary")
	must(t, os.MkdirAll(filepath.Join(victim, "sub"), 0o755), os.WriteFile(filepath.Join(victim, "sub", "f"), []byte("x"), 0o644))
	tree := filepath.Join(dir, "tree")
	must(t, os.Mkdir(tree, 0o755), os.Symlink(victim, filepath.Join(tree, "link")), os.Symlink("../canary", filepath.Join(tree, "up")))
	// Deeper than any path can say.
	at, err := unix.Open(tree, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	name := strings.Repeat("d", 200)
	for i := range 1500 {
		must(t, unix.Mkdirat(at, name, 0o700))
		next, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		if i%100 == 0 {
			must(t, unix.Symlinkat(victim, next, "link"))
		}
		_ = unix.Close(at)
		at = next
	}
	_ = unix.Close(at)
	must(t, os.Mkdir(filepath.Join(tree, "many"), 0o755))
	for i := range 3000 {
		must(t, os.WriteFile(filepath.Join(tree, "many", fmt.Sprint(i)), nil, 0o600))
	}
	must(t, RemoveTree(tree))
	if _, err := os.Lstat(tree); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(victim, "sub", "f")); err != nil || string(data) != "x" {
		t.Errorf("the canary is gone: %v", err)
	}
	must(t, RemoveTree(tree), RemoveTree(filepath.Join(dir, "none", "none")), RemoveTree(filepath.Join(victim, "sub", "f")))
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), make([]byte, 100<<10), 0o600), os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
	size, inodes, err := Usage(t.Context(), dir)
	if err != nil || inodes != 2 || size < 100<<10 || size > 120<<10 {
		t.Errorf("%d bytes, %d inodes, %v", size, inodes, err)
	}
	if _, _, err := Usage(t.Context(), filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("of nothing: %v", err)
	}
}
