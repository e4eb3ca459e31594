package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// entry is a short way to write a tar.Header.
type entry struct {
	kind byte
	name string
	link string
	body string
	mode int64
	pax  map[string]string
	uid  int
	dev  [2]int64
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		h := &tar.Header{
			Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.uid, PAXRecords: e.pax,
			ModTime: time.Unix(1_600_000_000, 5_000), Devmajor: e.dev[0], Devminor: e.dev[1], Format: tar.FormatPAX,
		}
		if e.kind == tar.TypeReg {
			h.Size = int64(len(e.body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, e.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func apply(t testing.TB, target Target, data []byte) (Result, error) {
	t.Helper()
	return Apply(t.Context(), target, bytes.NewReader(data), Limits{})
}

func mustApply(t testing.TB, target Target, data []byte) Result {
	t.Helper()
	r, err := apply(t, target, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, devices and trusted xattrs")
	}
}

func TestApplyAllTypes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	capability := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	data := pack(t,
		entry{kind: tar.TypeDir, name: "./", mode: 0o711},
		entry{kind: tar.TypeDir, name: "d/", mode: 0o3777, uid: 7},
		entry{name: "d/suid", body: "hello", mode: 0o4755, uid: 1000},
		entry{name: "d/cap", body: "x", mode: 0o755, pax: map[string]string{
			"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.a": "b"}},
		entry{kind: tar.TypeLink, name: "hard", link: "/d/suid"},
		entry{kind: tar.TypeSymlink, name: "link", link: "/absolute/target"},
		entry{kind: tar.TypeFifo, name: "fifo", mode: 0o600},
		entry{kind: tar.TypeChar, name: "null", mode: 0o666, dev: [2]int64{1, 3}},
		entry{name: "deep/er/file", body: "y"},
	)
	r := mustApply(t, Target{Dir: dir, Base: true}, data)
	if want := digest.FromBytes(data); r.DiffID != want {
		t.Errorf("diffID %s, want %s", r.DiffID, want)
	}
	var st unix.Stat_t
	for name, want := range map[string]struct{ mode, uid uint32 }{
		".": {unix.S_IFDIR | 0o711, 0}, "d": {unix.S_IFDIR | 0o3777, 7}, "d/suid": {unix.S_IFREG | 0o4755, 1000},
		"hard": {unix.S_IFREG | 0o4755, 1000}, "fifo": {unix.S_IFIFO | 0o600, 0}, "null": {unix.S_IFCHR | 0o666, 0},
		"deep/er": {unix.S_IFDIR | 0o755, 0},
	} {
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil || st.Mode != want.mode || st.Uid != want.uid {
			t.Errorf("%s: mode %o uid %d err %v, want %o %d", name, st.Mode, st.Uid, err, want.mode, want.uid)
		}
	}
	if err := unix.Lstat(filepath.Join(dir, "d"), &st); err != nil || st.Mtim.Sec != 1_600_000_000 || st.Mtim.Nsec != 5_000 {
		t.Errorf("time of d: %v %v", st.Mtim, err)
	}
	var value [64]byte
	if n, err := unix.Getxattr(filepath.Join(dir, "d/cap"), "security.capability", value[:]); err != nil || string(value[:n]) != capability {
		t.Errorf("capability %q %v", value[:max(n, 0)], err)
	}
	if _, err := unix.Getxattr(filepath.Join(dir, "d/cap"), "trusted.overlay.redirect", value[:]); !errors.Is(err, unix.ENODATA) {
		t.Errorf("overlay's own xattr came through: %v", err)
	}
}

func TestCompressions(t *testing.T) {
	plain := pack(t, entry{name: "f", body: strings.Repeat("conex ", 200_000)})
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(plain)
	_ = g.Close()
	z, _ := zstd.NewWriter(&zs)
	_, _ = z.Write(plain)
	_ = z.Close()
	for name, data := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		r := mustApply(t, Target{Dir: t.TempDir(), Base: true}, data)
		if sum := sha256.Sum256(plain); r.DiffID.Encoded() != fmt.Sprintf("%x", sum) {
			t.Errorf("%s: diffID %s", name, r.DiffID)
		}
		for _, cut := range []int{len(data) / 2, len(data) - 1100, len(data) - 5} {
			if name == "plain" && cut != len(data)/2 {
				continue // a tar may end in its padding: the diffID tells then
			}
			if _, err := apply(t, Target{Dir: t.TempDir(), Base: true}, data[:max(cut, 10)]); err == nil {
				t.Errorf("%s cut at %d of %d was taken for whole", name, cut, len(data))
			}
		}
	}
}

func TestOverlayWhiteouts(t *testing.T) {
	needRoot(t)
	lower, dir := t.TempDir(), t.TempDir()
	mustApply(t, Target{Dir: lower, Base: true}, pack(t,
		entry{kind: tar.TypeDir, name: "a", mode: 0o750, uid: 33}, entry{name: "a/x", body: "1"}, entry{name: "lib", body: "from below"}))
	mustApply(t, Target{Dir: dir, Lower: []string{lower}, Overlay: true}, pack(t,
		entry{name: ".wh.gone"}, entry{name: "a/new", body: "2"},
		entry{kind: tar.TypeDir, name: "o"}, entry{name: "o/.wh..wh..opq"}, entry{name: "o/kept"},
		entry{name: ".wh.again"}, entry{kind: tar.TypeDir, name: "again"},
		entry{name: "aufs/.wh..wh.plnk"}, entry{kind: tar.TypeLink, name: "lib.1", link: "lib"}))
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "gone"), &st); err != nil || !isWhiteout(&st) {
		t.Errorf("gone: %o %v", st.Mode, err)
	}
	if err := unix.Lstat(filepath.Join(dir, "a"), &st); err != nil || st.Mode&0o7777 != 0o750 || st.Uid != 33 {
		t.Errorf("implied parent a: %o %d %v, want those of the layer below", st.Mode, st.Uid, err)
	}
	for _, name := range []string{"o", "again"} {
		var value [4]byte
		if n, err := unix.Getxattr(filepath.Join(dir, name), opaqueXattr, value[:]); err != nil || string(value[:n]) != "y" {
			t.Errorf("%s is not opaque: %v", name, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "lib.1")); err != nil || string(b) != "from below" {
		t.Errorf("hard link to a lower file: %q %v", b, err)
	}
}

func TestNativeWhiteouts(t *testing.T) {
	dir := t.TempDir()
	mustApply(t, Target{Dir: dir, Base: true}, pack(t,
		entry{name: "gone", body: "1"}, entry{name: "tree/a/b", body: "1"}, entry{name: "o/old", body: "1"}, entry{name: "o/s/old", body: "1"}))
	mustApply(t, Target{Dir: dir}, pack(t,
		entry{name: ".wh.gone"}, entry{name: ".wh.tree"}, entry{name: "o/new", body: "2"}, entry{name: "o/s/new", body: "2"}, entry{name: "o/.wh..wh..opq"}))
	var got []string
	err := filepath.Walk(dir, func(p string, _ os.FileInfo, err error) error {
		got = append(got, strings.TrimPrefix(p, dir))
		return err
	})
	if want := "|/o|/o/new|/o/s|/o/s/new"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("left: %v %v, want %s", got, err, want)
	}
}

// canary is a directory beside the target with a file in it; check fails when anything about it changed.
func canary(t testing.TB, base string) (path string, check func()) {
	path = filepath.Join(base, "canary")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "secret"), []byte("intact"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		var s strings.Builder
		for _, name := range []string{"", "secret"} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(path, name), &st); err != nil {
				return err.Error()
			}
			fmt.Fprintln(&s, st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim, st.Ctim, st.Size)
		}
		b, err := os.ReadFile(filepath.Join(path, "secret"))
		fmt.Fprintln(&s, string(b), err)
		return s.String()
	}
	before := look()
	return path, func() {
		t.Helper()
		if after := look(); after != before {
			t.Errorf("the canary changed:\n%s\n%s", before, after)
		}
	}
}

// TestHostile is section 2(b) of the attack catalogue, I1 to I15, I18 and I19: refused or contained.
func TestHostile(t *testing.T) {
	needRoot(t)
	cases := map[string]struct {
		refused bool
		entries func(canary string) []entry
	}{
		"I1 dots":        {true, func(string) []entry { return []entry{{name: "../canary/secret", body: "x"}} }},
		"I1 dots inside": {true, func(string) []entry { return []entry{{name: "a/../../canary/secret", body: "x"}} }},
		"I2 absolute":    {false, func(c string) []entry { return []entry{{name: c + "/secret", body: "x"}} }},
		"I3 through a link": {true, func(c string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: c}, {name: "e/secret", body: "x"}}
		}},
		"I3 over a link": {false, func(c string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: c + "/secret"}, {name: "e", body: "x"}}
		}},
		"I5 relative link up": {true, func(string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: "../canary"}, {name: "e/secret", body: "x"}}
		}},
		"I6 hard link out": {true, func(string) []entry {
			return []entry{{kind: tar.TypeLink, name: "h", link: "../canary/secret"}, {name: "h", body: "x"}}
		}},
		"I6 hard link through a link": {true, func(c string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: c}, {kind: tar.TypeLink, name: "h", link: "e/secret"}, {name: "h", body: "x"}}
		}},
		"I7 absolute hard link": {true, func(c string) []entry { return []entry{{kind: tar.TypeLink, name: "h", link: c + "/secret"}} }},
		"I8 whiteout through a link": {true, func(c string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: c}, {name: "e/.wh.secret"}}
		}},
		"I9 whiteout of nothing": {true, func(string) []entry { return []entry{{name: ".wh."}} }},
		"I9 whiteout of .":       {true, func(string) []entry { return []entry{{name: ".wh.."}} }},
		"I9 whiteout of ..":      {true, func(string) []entry { return []entry{{name: ".wh..."}} }},
		"I10 opaque through a link": {true, func(c string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: c}, {name: "e/.wh..wh..opq"}}
		}},
		"I13 directory, link, file": {true, func(c string) []entry {
			return []entry{{kind: tar.TypeDir, name: "e"}, {kind: tar.TypeSymlink, name: "e", link: c}, {name: "e/secret", body: "x"}}
		}},
		"I14 mode through a link": {false, func(c string) []entry {
			return []entry{{kind: tar.TypeDir, name: "e", mode: 0o4777}, {kind: tar.TypeSymlink, name: "e", link: c, mode: 0o777, uid: 5}}
		}},
		"I14 link then directory": {false, func(c string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: c}, {kind: tar.TypeDir, name: "e", mode: 0o4777, uid: 5}}
		}},
		"I15 device":         {false, func(string) []entry { return []entry{{kind: tar.TypeBlock, name: "sda", dev: [2]int64{8, 0}}} }},
		"root is a file":     {true, func(string) []entry { return []entry{{name: "./", kind: tar.TypeSymlink, link: "/"}} }},
		"name too long":      {true, func(string) []entry { return []entry{{name: strings.Repeat("n/", 3000) + "x"}} }},
		"component too long": {true, func(string) []entry { return []entry{{name: strings.Repeat("n", 300)}} }},
		"magic link": {true, func(string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "p", link: "/proc/self/root"}, {name: "p/x"}}
		}},
		"file as directory":    {true, func(string) []entry { return []entry{{name: "f"}, {name: "f/x"}} }},
		"hard link to nothing": {true, func(string) []entry { return []entry{{kind: tar.TypeLink, name: "h", link: "nowhere"}} }},
		"dangling parent": {true, func(string) []entry {
			return []entry{{kind: tar.TypeSymlink, name: "e", link: "nowhere"}, {name: "e/x"}}
		}},
	}
	for name, c := range cases {
		for _, overlay := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/overlay=%v", name, overlay), func(t *testing.T) {
				base := t.TempDir()
				out, check := canary(t, base)
				root := filepath.Join(base, "root")
				if err := os.Mkdir(root, 0o755); err != nil {
					t.Fatal(err)
				}
				_, err := apply(t, Target{Dir: root, Overlay: overlay}, pack(t, c.entries(out)...))
				check()
				if (err != nil) != c.refused {
					t.Errorf("refused: %v, want %v", err, c.refused)
				}
				if err != nil && !errdefs.Is(err, errdefs.ErrInvalidArgument) {
					t.Errorf("class of %v is %s", err, errdefs.Of(err))
				}
			})
		}
	}
}

// TestCrossLayerLink is attack I4: the link lies in the layer below.
func TestCrossLayerLink(t *testing.T) {
	base := t.TempDir()
	out, check := canary(t, base)
	lower, upper := filepath.Join(base, "lower"), filepath.Join(base, "upper")
	for _, d := range []string{lower, upper} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustApply(t, Target{Dir: lower, Base: true}, pack(t, entry{kind: tar.TypeSymlink, name: "e", link: out}))
	mustApply(t, Target{Dir: upper, Lower: []string{lower}, Overlay: true}, pack(t, entry{name: "e/secret", body: "x"}))
	if _, err := apply(t, Target{Dir: lower}, pack(t, entry{name: "e/secret", body: "x"})); err == nil {
		t.Error("written through a link of the layer below")
	}
	check()
}

func TestLimits(t *testing.T) {
	many := make([]entry, 50)
	for i := range many {
		many[i] = entry{kind: tar.TypeDir, name: fmt.Sprintf("directory-%d", i)}
	}
	big := pack(t, entry{name: "zeros", body: strings.Repeat("\x00", 1<<20)})
	for name, c := range map[string]struct {
		data   []byte
		limits Limits
	}{
		"bytes":       {big, Limits{Bytes: 1 << 19}},
		"entries":     {pack(t, many...), Limits{Entries: 10}},
		"directories": {pack(t, many...), Limits{DirMemory: 1000}},
	} {
		_, err := Apply(t.Context(), Target{Dir: t.TempDir(), Base: true}, bytes.NewReader(c.data), c.limits)
		if !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNotTar(t *testing.T) {
	for _, data := range []string{"", "hello", strings.Repeat("no tar ", 1000), "\x1f\x8bnot gzip", "\x28\xb5\x2f\xfdnot zstd at all"} {
		if _, err := apply(t, Target{Dir: t.TempDir(), Base: true}, []byte(data)); err == nil {
			t.Errorf("%.10q was taken for a layer", data)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(pack(t, entry{name: "a"})[:1024])
		cancel()
		_ = w.CloseWithError(ctx.Err())
	}()
	if _, err := Apply(ctx, Target{Dir: t.TempDir(), Base: true}, r, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// FuzzApply: whatever the bytes are, nothing beside the target changes, and what is accepted has the right diffID.
func FuzzApply(f *testing.F) {
	f.Add(pack(f, entry{kind: tar.TypeDir, name: "d"}, entry{name: "d/f", body: "x"}, entry{kind: tar.TypeLink, name: "h", link: "d/f"}), true)
	f.Add(pack(f, entry{kind: tar.TypeSymlink, name: "e", link: "../canary"}, entry{name: "e/secret", body: "x"}), false)
	f.Add(pack(f, entry{name: ".wh.a"}, entry{name: "d/.wh..wh..opq"}, entry{kind: tar.TypeFifo, name: "p"}), true)
	f.Fuzz(func(t *testing.T, data []byte, overlay bool) {
		base := t.TempDir()
		_, check := canary(t, base)
		root := filepath.Join(base, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := Apply(t.Context(), Target{Dir: root, Overlay: overlay}, bytes.NewReader(data), Limits{Bytes: 8 << 20, Entries: 1000})
		check()
		if err == nil && r.Size == int64(len(data)) && r.DiffID != digest.FromBytes(data) {
			t.Errorf("diffID %s of %d bytes", r.DiffID, len(data))
		}
	})
}
