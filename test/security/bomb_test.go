package security

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/klauspost/compress/zstd"

	"github.com/conex-containers/conex/test/rig"
)

// memoryBound is what no image may make the daemon take.
const memoryBound = 256 << 20

// small runs an engine whose data root is a file system of its own: size as for tmpfs(5), so many inodes at most.
func small(t *testing.T, options string) *rig.Engine {
	t.Helper()
	root := t.TempDir()
	if err := unix.Mount("conex-test", root, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("unmount %s: %v", root, err)
		}
	})
	return rig.StartAt(t, root)
}

// used is how much of the data root's file system is taken.
func used(t *testing.T, e *rig.Engine) (bytes, inodes uint64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(e.DataRoot, &st); err != nil {
		t.Fatal(err)
	}
	return (st.Blocks - st.Bfree) * uint64(st.Bsize), st.Files - st.Ffree
}

// packed is what write writes, compressed.
func packed(t *testing.T, write func(w io.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	write(z)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func entries(t *testing.T, w io.Writer, n int, header func(i int) tar.Header) {
	t.Helper()
	tw := tar.NewWriter(w)
	for i := range n {
		h := header(i)
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
}

// zeros is a layer with one file of so many zero bytes.
func zeros(t *testing.T, size int64) []byte {
	return packed(t, func(w io.Writer) {
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size}); err != nil {
			t.Fatal(err)
		}
		for part := make([]byte, 1<<20); size > 0; size -= int64(len(part)) {
			if _, err := tw.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		_ = tw.Close()
	})
}

// window is a zstd frame whose header asks for a window of 2^log bytes (RFC 8878, section 3.1.1.1.2), with one raw block.
func window(log int, body []byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte((log - 10) << 3)}
	b = append(b, binary.LittleEndian.AppendUint32(nil, uint32(len(body)<<3|1))[:3]...)
	return append(b, body...)
}

// sparse is an archive with one GNU sparse file (format 1.0, PAX) of the given apparent size and map.
func sparse(t *testing.T, sizeText string, fragments []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	body := append(fragments, make([]byte, (512-len(fragments)%512)%512)...)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/s", Mode: 0o644, Size: int64(len(body)), Format: tar.FormatPAX, PAXRecords: map[string]string{"CONEX.1": "x"}}
	if err := tw.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	_, _ = tw.Write(body)
	_ = tw.Close()
	records := ""
	for _, kv := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "sparse"}, {"GNU.sparse.realsize", sizeText}} {
		records += record(kv[0], kv[1])
	}
	return bend(t, b.Bytes(), records)
}

// record is one PAX record, which begins with its own length in decimal digits.
func record(key, value string) string {
	text := " " + key + "=" + value + "\n"
	n := len(text)
	for n != len(text)+len(fmt.Sprint(n)) {
		n = len(text) + len(fmt.Sprint(n))
	}
	return fmt.Sprint(n) + text
}

// bend puts other PAX records into an archive's first, extended header.
func bend(t *testing.T, archive []byte, records string) []byte {
	t.Helper()
	out := bytes.Clone(archive[:512])
	copy(out[124:136], fmt.Sprintf("%011o\x00", len(records)))
	copy(out[148:156], "        ")
	sum := 0
	for _, c := range out {
		sum += int(c)
	}
	copy(out[148:156], fmt.Sprintf("%06o\x00 ", sum))
	padded := append([]byte(records), make([]byte, (512-len(records)%512)%512)...)
	return append(append(out, padded...), archive[1024:]...)
}

// Bombs: a few megabytes that become many gigabytes, millions of files, or names and maps without an end. Each is refused
// with a reason, by a daemon that takes at most 256 MiB, and its space comes back to the last inode.
//
// The guards: manager/layer Limits, the window of its zstd reader, the sizes that manager/content compares while a blob
// is written, and the file system's own end.
func TestBombs(t *testing.T) {
	e := small(t, "size=48m,nr_inodes=20000")
	s := newStall(t)
	deep := func(w io.Writer) {
		entries(t, w, 1, func(int) tar.Header {
			return tar.Header{Typeflag: tar.TypeDir, Name: strings.Repeat("d/", 4000), Mode: 0o755, Format: tar.FormatPAX}
		})
	}
	var nested = zeros(t, 64<<20)
	for range 3 {
		inner := nested
		nested = packed(t, func(w io.Writer) { _, _ = w.Write(inner) })
	}
	odd := archive(t, item{tar.Header{Typeflag: tar.TypeReg, Name: "f", Format: tar.FormatPAX, PAXRecords: map[string]string{"CONEX.x": "y"}}, "x"})
	var z bytes.Buffer
	zw, _ := zstd.NewWriter(&z)
	if _, err := io.CopyN(zw, &endless{t: t}, 2<<30); err != nil {
		t.Fatal(err)
	}
	_ = zw.Close()
	for name, c := range map[string]struct {
		data []byte
		why  string
	}{
		"gzip of a gigabyte":   {zeros(t, 1<<30), "no space left"},
		"zstd of 2 gigabytes":  {z.Bytes(), "no space left"},
		"zstd window of 2 GiB": {window(31, archive(t, file("f", "x"))), "window"},
		"gzip in gzip":         {nested, "not a whole tar"},
		"many files": {packed(t, func(w io.Writer) {
			entries(t, w, 200_000, func(i int) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprint("f", i)} })
		}), "no space left"},
		"many directories": {packed(t, func(w io.Writer) {
			entries(t, w, 200_000, func(i int) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprint("d", i, "/")} })
		}), "no space left"},
		"one inode, names": {packed(t, func(w io.Writer) {
			entries(t, w, 300_000, func(i int) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("d/%0200d/", i)} })
		}), "no space left"},
		"deep": {packed(t, deep), "longer than Linux allows"},
		"long name": {packed(t, func(w io.Writer) {
			entries(t, w, 1, func(int) tar.Header { return tar.Header{Name: strings.Repeat("n", 100_000), Format: tar.FormatPAX} })
		}), "longer than Linux allows"},
		"long link": {packed(t, func(w io.Writer) {
			entries(t, w, 1, func(int) tar.Header {
				return tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: strings.Repeat("n", 100_000), Format: tar.FormatPAX}
			})
		}), "target of 100000 bytes"},
		"long record":     {bend(t, odd, record("CONEX.x", strings.Repeat("y", 8<<20))), "tar"},
		"sparse of 8 EiB": {sparse(t, "4611686018427387904", []byte("1\n0\n0\n")), "larger than"},
		"sparse map":      {sparse(t, "1048576", []byte("100000000\n"+strings.Repeat("0\n0\n", 1<<20))), "tar"},
		"size of 8 EiB":   {bend(t, odd, record("size", "9223372036854775807")), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			ref := s.offer(t, strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", ""), goods{layers: [][]byte{c.data}, diffs: []string{rig.Digest([]byte(name))}})
			bytesBefore, inodesBefore := used(t, e)
			if most := peak(t, e, func() { refused(t, e.For(t), ref, c.why) }); most > memoryBound {
				t.Errorf("the daemon took %d MiB", most>>20)
			} else {
				t.Logf("%d KiB sent, %d MiB of memory", len(c.data)>>10, most>>20)
			}
			bytesAfter, inodesAfter := used(t, e)
			if bytesAfter > bytesBefore+64<<10 || inodesAfter > inodesBefore {
				t.Errorf("%d bytes and %d inodes are not given back", bytesAfter-bytesBefore, int64(inodesAfter)-int64(inodesBefore))
			}
		})
	}
	// Deep directories that Linux allows are unpacked and removed again.
	ref := s.offer(t, "deepest", goods{layers: [][]byte{archive(t, dir(strings.Repeat("d/", 2000)), file("d/f", "x"))}})
	before := footprint(e)
	e.Docker("pull", "-q", ref).OK()
	e.Docker("rmi", ref).OK()
	back(t, e, before)
}

// endless is a tar of one file without an end, of zeros.
type endless struct {
	t      *testing.T
	header []byte
	begun  bool
}

func (z *endless) Read(p []byte) (int, error) {
	if !z.begun {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: 4 << 30}); err != nil {
			z.t.Fatal(err)
		}
		z.header, z.begun = b.Bytes(), true
	}
	if len(z.header) > 0 {
		n := copy(p, z.header)
		z.header = z.header[n:]
		return n, nil
	}
	clear(p)
	return len(p), nil
}

// A registry that sends other bytes than it announced: the blob is never there, for nobody, and a second pull of the same
// digest from an honest registry, at the same time or later, gets it whole.
func TestCorruptBlobs(t *testing.T) {
	e, _ := start(t)
	evil, honest := newStall(t), newStall(t)
	l := archive(t, file("f", strings.Repeat("x", 300_000)))
	g := goods{layers: [][]byte{base(t), l}}
	good := honest.offer(t, "good", g)
	for name, send := range map[string]http.HandlerFunc{
		"other bytes": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("e"), len(l))) },
		"last byte":   func(w http.ResponseWriter, _ *http.Request) { b := bytes.Clone(l); b[len(b)-1]++; _, _ = w.Write(b) },
		"too few":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(l[:len(l)/2]) },
		"too many":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(append(bytes.Clone(l), l...)) },
		"nothing":     func(w http.ResponseWriter, _ *http.Request) {},
		"other length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(l)+5))
			_, _ = w.Write(l)
		},
		"other range": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(l)-1, len(l)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(l[5:])
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.For(t)
			ref := evil.offer(t, strings.ReplaceAll(name, " ", "-"), g)
			evil.page("x/blobs/"+rig.Digest(l), send)
			before := footprint(e)
			second := make(chan *rig.Result, 1)
			go func() { second <- e.Docker("pull", "-q", good) }()
			first := e.Docker("pull", ref)
			if r := <-second; r.Code != 0 && !strings.Contains(r.Err, "verification failed") {
				t.Errorf("the honest registry's pull: %s", r.Err) // it may have waited for the liar's download, and then says so
			}
			e.Docker("pull", "-q", good).OK()
			e.Docker("run", "--rm", good, "sh", "-c", "test $(wc -c < /f) = 300000 && ! grep e /f").OK()
			if path := e.DataRoot + "/content/blobs/sha256/" + strings.TrimPrefix(rig.Digest(l), "sha256:"); first.Code == 0 {
				if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, l) { // the honest one was faster
					t.Errorf("the blob that was pulled is not its digest's: %v", err)
				}
				e.Docker("rmi", ref).OK()
			}
			e.Docker("rmi", good).OK()
			e.Docker("image", "prune", "-f").OK()
			back(t, e, before)
		})
	}
	found, _ := filepath.Glob(e.DataRoot + "/content/ingest/*")
	if len(found) > 0 {
		t.Errorf("unfinished downloads: %v", found)
	}
}

func xattrs(t *testing.T, path string) string {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}
