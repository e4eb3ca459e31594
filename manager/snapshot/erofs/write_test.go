package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/linux/mount"
)

// image writes a tree and returns the image's path.
func image(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.erofs")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Write(t.Context(), d, out), out.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// describe lists what is at and below dir, a line an object: everything that an image keeps.
func describe(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%q %o %d:%d links %d mtime %d.%09d", rel, st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" size %d %x", st.Size, sum(b))
			if st.Nlink > 1 && inodes[st.Ino] == "" {
				inodes[st.Ino] = rel
			}
			line += " same as " + inodes[st.Ino]
		case unix.S_IFLNK:
			to, _ := os.Readlink(path)
			line += " to " + to
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" device %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		lines = append(lines, line+" "+strings.Join(attributes(t, path), ","))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func sum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

func attributes(t *testing.T, path string) []string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
		all = append(all, fmt.Sprintf("%s=%x", name, value[:n]))
	}
	slices.Sort(all)
	return all
}

// check compares a tree with its image as the kernel shows it, and has erofs-utils judge the image.
func check(t *testing.T, dir string) string {
	t.Helper()
	path := image(t, dir)
	if tool, err := exec.LookPath("fsck.erofs"); err != nil {
		t.Errorf("%v: apt-get install erofs-utils", err)
	} else if out, err := exec.Command(tool, "--extract", path).CombinedOutput(); err != nil {
		t.Errorf("fsck.erofs: %v: %s", err, out)
	}
	tree, err := mount.EROFS(path)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	want, got := describe(t, dir), describe(t, fmt.Sprintf("/proc/self/fd/%d/", int(tree)))
	for i := range max(len(want), len(got)) {
		if i >= len(got) || i >= len(want) || want[i] != got[i] {
			t.Fatalf("line %d of %d and %d:\nwant %.300s\ngot  %.300s", i, len(want), len(got), append(want, "")[min(i, len(want))], append(got, "")[min(i, len(got))])
		}
	}
	return path
}

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts and devices")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// One of everything, with sizes around a block.
func TestEverything(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, size := range []int{0, 1, 31, 4000, 4063, 4064, 4095, 4096, 4097, 8191, 8192, 12289, 16384, 16385, 100_000, 3 << 20} {
		must(t, os.WriteFile(at(fmt.Sprint("size", size)), bytes.Repeat([]byte{byte(size), 7, 1}, size)[:size], 0o640))
	}
	sparse, err := os.Create(at("sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 50<<20)
	must(t, errors.Join(err, sparse.Close()))
	must(t, os.Link(at("size1"), at("hard1")))
	must(t, os.Link(at("size1"), at("hard2")))
	must(t, os.Symlink("size1", at("link")))
	must(t, os.Symlink(strings.Repeat("long/", 800), at("longlink")))
	must(t, unix.Mknod(at("whiteout"), unix.S_IFCHR|0o600, 0))
	must(t, unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(at("disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 300_000))))
	must(t, unix.Mkfifo(at("fifo"), 0o644))
	must(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o755, 0))
	must(t, os.MkdirAll(at("opaque/a/b/c"), 0o711))
	must(t, unix.Lsetxattr(at("opaque"), "trusted.overlay.opaque", []byte("y"), 0))
	for i := range 40 {
		name := at(fmt.Sprint("attr", i))
		must(t, os.WriteFile(name, []byte("x"), 0o600))
		must(t, unix.Lsetxattr(name, "user.shared", []byte("of all"), 0))
		must(t, unix.Lsetxattr(name, "user.own", bytes.Repeat([]byte{byte(i)}, i*20), 0))
		must(t, unix.Lsetxattr(name, "security.capability", append([]byte{1, 0, 0, 2}, make([]byte, 16)...), 0))
	}
	must(t, os.Lchown(at("size1"), 100_000, 70_000))
	must(t, os.Chmod(at("size31"), 0o755|os.ModeSetuid))
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, at("size4096"), []unix.Timespec{{}, {Sec: -5, Nsec: 999_999_999}}, 0))
	for i := range 3000 { // a directory of many blocks, with names on both sides of "."
		must(t, os.WriteFile(at(fmt.Sprintf("opaque/%c%d%s", "!-/:Aé"[i%6]|0x20, i, strings.Repeat("n", i%200))), nil, 0o644))
	}
	must(t, os.Mkdir(at("empty"), 0o1777))
	path := check(t, dir)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Blocks*512 > 10<<20 {
		t.Errorf("the image takes %d bytes: its holes are filled (%v)", st.Blocks*512, err)
	}
	other := image(t, dir)
	if one, two := read(t, path), read(t, other); !bytes.Equal(one, two) {
		t.Error("the same tree makes different images")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// Trees at random, and the empty one.
func TestRandomTrees(t *testing.T) {
	needRoot(t)
	check(t, t.TempDir())
	for seed := range uint64(12) {
		rng, dir := rand.New(rand.NewPCG(seed, 1)), t.TempDir()
		dirs, files := []string{dir}, []string{}
		for i := range 400 {
			name := filepath.Join(dirs[rng.IntN(len(dirs))], strings.Repeat(string(rune('a'+rng.IntN(26))), 1+rng.IntN(200))+fmt.Sprint(i))
			switch rng.IntN(6) {
			case 0:
				must(t, os.Mkdir(name, 0o755))
				dirs = append(dirs, name)
			case 1:
				must(t, os.Symlink(strings.Repeat("x", 1+rng.IntN(4000)), name))
			case 2:
				if len(files) > 0 {
					must(t, os.Link(files[rng.IntN(len(files))], name))
				}
			default:
				body := make([]byte, rng.IntN(1<<rng.IntN(18)))
				for i := range body {
					body[i] = byte(rng.Uint32())
				}
				must(t, os.WriteFile(name, body, 0o644))
				files = append(files, name)
				if rng.IntN(3) == 0 {
					must(t, unix.Lsetxattr(name, fmt.Sprint("user.n", rng.IntN(5)), body[:min(len(body), rng.IntN(3000))], 0))
				}
			}
		}
		check(t, dir)
	}
}
