package metadata

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// sample makes a database with branch pages, inline buckets, overflow pages and freed pages.
func sample(t testing.TB) (path string, want map[string]int) {
	db := open(t, Options{})
	for i := range 400 {
		put(t, db, "n", fmt.Sprintf("key-%04d-%s", i, strings.Repeat("x", i%90)), i)
	}
	put(t, db, "small", "one", 1)
	err := db.Update(t.Context(), func(tx *Tx) error {
		for i := range 100 {
			if err := tx.Delete(Images, "n", fmt.Sprintf("key-%04d-%s", i*3, strings.Repeat("x", i*3%90))); err != nil {
				return err
			}
		}
		return tx.Put(Containers, "n", "large", map[string]string{"v": strings.Repeat("y", 20000)})
	})
	if err != nil {
		t.Fatal(err)
	}
	want = dump(t, db, "n")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return db.Path(), want
}

// TestDamage hurts a database in a thousand ways: each is found at Open, or did not touch what is in use.
func TestDamage(t *testing.T) {
	path, want := sample(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:int64(r.high)*r.page] // what follows was never written
	random := rand.New(rand.NewPCG(1, 2))
	hurt := []struct {
		name string
		do   func(b []byte) []byte
	}{
		{"bit", func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b }},
		{"page zero", func(b []byte) []byte { clear(b[random.IntN(len(b)/4096)*4096:][:4096]); return b }},
		{"page noise", func(b []byte) []byte {
			p := b[random.IntN(len(b)/4096)*4096:][:4096]
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			return b
		}},
		{"page swap", func(b []byte) []byte {
			i, j := random.IntN(len(b)/4096)*4096, random.IntN(len(b)/4096)*4096
			p := bytes.Clone(b[i:][:4096])
			copy(b[i:], b[j:][:4096])
			copy(b[j:], p)
			return b
		}},
		{"cut", func(b []byte) []byte { return b[:random.IntN(len(b))] }},
		{"header", func(b []byte) []byte {
			b[random.IntN(len(b)/4096)*4096+random.IntN(32)] = byte(random.Uint32())
			return b
		}},
	}
	dir := t.TempDir()
	found, harmless := 0, 0
	for i := range 1000 {
		h := hurt[i%len(hurt)]
		bad := filepath.Join(dir, strconv.Itoa(i))
		for name, data := range map[string][]byte{bad: h.do(bytes.Clone(whole)), bad + createdSuffix: nil} {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		db, err := Open(bad, Options{})
		switch {
		case errors.Is(err, ErrDamaged):
			found++
		case err != nil:
			t.Errorf("%s %d: %v", h.name, i, err)
		default:
			// A damaged meta page takes bbolt one transaction back: a warning, not a loss of more.
			if got := dump(t, db, "n"); !maps.Equal(got, want) && len(got) != 400 {
				t.Errorf("%s %d: opened with %d records, want %d", h.name, i, len(got), len(want))
			}
			harmless++
			put(t, db, "n", "more", 1)
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
		_ = os.Remove(bad)
	}
	if found < 300 {
		t.Errorf("only %d of 1000 were found", found)
	}
	t.Logf("%d found, %d in pages that are not in use", found, harmless)
	_ = os.Remove(path)
	if _, err := Open(path, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("missing file: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	db := open(f, Options{})
	for i := range 30 {
		put(f, db, "n", strings.Repeat("k", i*20+1), i)
	}
	_ = db.Close()
	whole, err := os.ReadFile(db.Path())
	if err != nil {
		f.Fatal(err)
	}
	r, err := verify(bytes.NewReader(whole), int64(len(whole)))
	if err != nil {
		f.Fatal(err)
	}
	whole = whole[:int64(r.high)*r.page]
	f.Add([]byte{0, 0, 0, 1, 0, 24, 9}, uint32(0))
	f.Add([]byte{1, 64, 10, 255}, uint32(9000))
	// The input is a list of patches, three bytes of place and one of value: whole databases are too long to mutate.
	f.Fuzz(func(t *testing.T, patches []byte, cut uint32) {
		data := bytes.Clone(whole)
		for p := patches; len(p) >= 4; p = p[4:] {
			data[(int(p[0])<<16|int(p[1])<<8|int(p[2]))%len(data)] = p[3]
		}
		if cut > 0 {
			data = data[:int(cut)%len(data)]
		}
		r, err := verify(bytes.NewReader(data), int64(len(data)))
		if err == nil && r == nil {
			t.Fatal("neither a result nor an error")
		}
	})
}

// TestFullDisk: on a disk without a free byte, records can still be removed and small ones written; a large one is a
// clear error that does not hinder its neighbours.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "16m")
	db, err := Open(filepath.Join(dir, "conex.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for i := range 100 {
		put(t, db, "n", strconv.Itoa(i), i)
	}
	if f, err := os.Create(filepath.Join(dir, "ballast")); err == nil {
		_, err = io.Copy(f, bytes.NewReader(make([]byte, 20<<20)))
		if _ = f.Close(); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("the disk is not full: %v", err)
		}
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			err := db.Update(t.Context(), func(tx *Tx) error { return tx.Delete(Images, "n", strconv.Itoa(i)) })
			if err != nil {
				t.Errorf("delete: %v", err)
			}
		})
		if i%10 == 0 {
			wg.Go(func() {
				err := db.Update(t.Context(), func(tx *Tx) error {
					return tx.Put(Images, "large", strconv.Itoa(i), strings.Repeat("x", 12<<20))
				})
				if !errdefs.Is(err, errdefs.ErrResourceExhausted) {
					t.Errorf("large record: %v", err)
				}
			})
		}
	}
	wg.Wait()
	if got := dump(t, db, "n"); len(got) != 0 {
		t.Errorf("%d records are left", len(got))
	}
	put(t, db, "n", "small", 1)
	if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
		t.Errorf("check: %v %v", problems, err)
	}
}

// tmpfs returns a directory of a file system of the given size that is mounted nowhere.
func tmpfs(t *testing.T, size string) string {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		t.Skipf("needs root: %v", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := errors.Join(unix.FsconfigSetString(fs, "size", size), unix.FsconfigCreate(fs)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

// TestCrash kills a process at random moments of its writing and looks at what it acknowledged.
func TestCrash(t *testing.T) {
	if path := os.Getenv("CONEX_METADATA_CRASH"); path != "" {
		crashChild(path)
		return
	}
	for _, volatile := range []bool{false, true} {
		t.Run(fmt.Sprintf("volatile=%v", volatile), func(t *testing.T) { crash(t, volatile) })
	}
}

func crash(t *testing.T, volatile bool) {
	path := filepath.Join(t.TempDir(), "conex.db")
	begin := 0
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
		cmd.Env = append(os.Environ(), "CONEX_METADATA_CRASH="+path, "CONEX_METADATA_BEGIN="+strconv.Itoa(begin), "CONEX_METADATA_VOLATILE="+strconv.FormatBool(volatile))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		acked := 0
		lines := bufio.NewScanner(out)
		for n := 20 + rand.IntN(60); acked < n && lines.Scan(); acked++ {
		}
		_ = cmd.Process.Kill()
		for lines.Scan() {
			acked++
		}
		_ = cmd.Wait()
		db, err := Open(path, Options{Volatile: volatile})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		got := dump(t, db, "n")
		for i := range begin + acked {
			if got[strconv.Itoa(i)] != i {
				t.Errorf("round %d: record %d was acknowledged and is %d", round, i, got[strconv.Itoa(i)])
			}
		}
		if len(got) > begin+acked+1 {
			t.Errorf("round %d: %d records, %d were acknowledged", round, len(got), begin+acked)
		}
		begin = len(got)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func crashChild(path string) {
	db, err := Open(path, Options{Volatile: os.Getenv("CONEX_METADATA_VOLATILE") == "true"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	begin, _ := strconv.Atoi(os.Getenv("CONEX_METADATA_BEGIN"))
	for i := begin; ; i++ {
		err := db.Update(context.Background(), func(tx *Tx) error { return tx.Put(Images, "n", strconv.Itoa(i), thing{N: i}) })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}
