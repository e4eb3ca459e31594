package safepath

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t *testing.T) (Root, string) {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return At(fd), dir
}

func TestSymlinksStayInside(t *testing.T) {
	r, dir := open(t)
	outside := t.TempDir()
	for name, target := range map[string]string{"abs": outside, "up": "../../../../../../.." + outside, "dev": "/inside"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/abs/x/y", "up/x/y"} {
		fd, err := r.MkdirAll(name, 0o755)
		if err == nil {
			_ = unix.Close(fd)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Fatalf("made %v outside of the root", left)
	}
	fd, err := r.MkdirAll("/dev/pts", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	if _, err := os.Stat(filepath.Join(dir, "inside", "pts")); err != nil {
		t.Fatalf("a link inside the root was not followed: %v", err)
	}
}

func TestOpenPlainRefusesLinks(t *testing.T) {
	r, dir := open(t)
	if err := os.Mkdir(filepath.Join(dir, "evil"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("evil", filepath.Join(dir, "proc")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.OpenPlain("/proc", unix.O_PATH); !errors.Is(err, unix.ELOOP) {
		t.Fatalf("got %v, want ELOOP", err)
	}
}

func TestFileAndReadFile(t *testing.T) {
	r, dir := open(t)
	fd, err := r.File("/a/b/../c", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	if err := os.WriteFile(filepath.Join(dir, "a", "c"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := r.ReadFile("a/c", 3)
	if err != nil || string(b) != "hel" {
		t.Fatalf("got %q, %v", b, err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadFile("fifo", 3); err == nil {
		t.Fatal("read a fifo")
	}
}

func FuzzClean(f *testing.F) {
	f.Add("../../etc")
	f.Fuzz(func(t *testing.T, p string) {
		c := Clean(p)
		if !strings.HasPrefix(c, "/") || strings.Contains(c+"/", "/../") {
			t.Fatalf("Clean(%q) = %q", p, c)
		}
	})
}

// A link of the image to nothing: what it names is made, and never outside.
func TestLinksToNothingAreFollowedInside(t *testing.T) {
	r, dir := open(t)
	outside := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"etc/file": "../foo/bar/not/here", "etc/abs": "/a/b", "run": "etc/deep/run", "up": "../../.." + outside + "/x",
		"loop": "loop2", "loop2": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		p, made string
		file    bool
	}{{"/etc/file", "foo/bar/not/here", true}, {"/etc/abs", "a/b", false}, {"/run/x/y", "etc/deep/run/x/y", false},
		{"/run/z", "etc/deep/run/z", true}, {"/up/y", strings.TrimPrefix(outside, "/") + "/x/y", false}} {
		make := r.MkdirAll
		if c.file {
			make = r.File
		}
		fd, err := make(c.p, 0o700)
		if err != nil {
			t.Errorf("%s: %v", c.p, err)
			continue
		}
		_ = unix.Close(fd)
		st, err := os.Stat(filepath.Join(dir, c.made))
		if err != nil || st.IsDir() == c.file {
			t.Errorf("%s: %v, %v", c.made, st, err)
		}
	}
	for _, p := range []string{"/loop/x", "/loop"} {
		if _, err := r.MkdirAll(p, 0o755); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", p, err)
		}
		if _, err := r.File(p, 0o755); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Fatalf("made %v outside of the root", left)
	}
}

func TestLinkTakesTheLinkItself(t *testing.T) {
	r, dir := open(t)
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for p, kind := range map[string]uint32{"/link": unix.S_IFLNK, "/new/file": unix.S_IFREG} {
		fd, err := r.Link(p, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != kind {
			t.Errorf("%s: mode %o, %v", p, st.Mode, err)
		}
		_ = unix.Close(fd)
	}
}
