package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/conex-containers/conex/base/errdefs"
)

type thing struct {
	Header
	N int
}

func open(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "conex.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func put(t testing.TB, db *DB, ns, key string, n int) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *Tx) error { return tx.Put(Images, ns, key, thing{N: n}) }); err != nil {
		t.Fatal(err)
	}
}

func dump(t testing.TB, db *DB, ns string) map[string]int {
	t.Helper()
	out := map[string]int{}
	err := db.View(t.Context(), func(tx *Tx) error {
		return tx.Each(Images, ns, "", func(key string, raw []byte) error {
			var v thing
			out[key] = -1
			err := json.Unmarshal(raw, &v)
			out[key] = v.N
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRecords(t *testing.T) {
	db := open(t, Options{})
	put(t, db, "moby", "a", 1)
	put(t, db, "moby", "ab", 2)
	put(t, db, "moby", "b", 3)
	put(t, db, "", "shared", 4)
	err := db.View(t.Context(), func(tx *Tx) error {
		var v thing
		if err := tx.Get(Images, "moby", "ab", &v); err != nil || v.N != 2 {
			t.Errorf("get: %v %v", v, err)
		}
		if err := tx.Get(Images, "other", "ab", &v); !errdefs.IsNotFound(err) {
			t.Errorf("other namespace: %v", err)
		}
		var raw json.RawMessage
		if err := tx.Get(Images, "", "shared", &raw); err != nil || !strings.Contains(string(raw), `"N":4`) {
			t.Errorf("raw: %s %v", raw, err)
		}
		var keys []string
		if err := tx.Each(Images, "moby", "a", func(k string, _ []byte) error { keys = append(keys, k); return nil }); err != nil {
			t.Error(err)
		}
		if !slices.Equal(keys, []string{"a", "ab"}) {
			t.Errorf("prefix: %v", keys)
		}
		ns, err := tx.Namespaces(Images)
		if err != nil || !slices.Equal(ns, []string{"", "moby"}) {
			t.Errorf("namespaces: %q %v", ns, err)
		}
		if err := tx.Put(Images, "moby", "x", 1); err == nil {
			t.Error("put in a view worked")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *Tx) error { return tx.Delete(Images, "moby", "none") })
	if !errdefs.IsNotFound(err) {
		t.Errorf("delete of nothing: %v", err)
	}
	for _, bad := range []string{"", strings.Repeat("k", 40000)} {
		err = db.Update(t.Context(), func(tx *Tx) error { return tx.Put(Images, "moby", bad, 1) })
		if !errdefs.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("bad key: %v", err)
		}
	}
}

func TestEachMayDelete(t *testing.T) {
	db := open(t, Options{Volatile: true})
	for i := range 300 {
		put(t, db, "n", fmt.Sprintf("k%03d", i), i)
	}
	visited := 0
	err := db.Update(t.Context(), func(tx *Tx) error {
		return tx.Each(Images, "n", "", func(key string, _ []byte) error {
			visited++
			return tx.Delete(Images, "n", key)
		})
	})
	if err != nil || visited != 300 || len(dump(t, db, "n")) != 0 {
		t.Fatalf("visited %d, left %d, %v", visited, len(dump(t, db, "n")), err)
	}
	if err := db.View(t.Context(), func(tx *Tx) error {
		if ns, _ := tx.Namespaces(Images); len(ns) != 0 {
			t.Errorf("namespaces of nothing: %q", ns)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestGroup runs many Updates at once, some of which fail or panic after having changed something.
func TestGroup(t *testing.T) {
	db := open(t, Options{})
	put(t, db, "n", "victim", 1)
	var wg sync.WaitGroup
	boom := errors.New("boom")
	for i := range 200 {
		wg.Go(func() {
			key := strconv.Itoa(i)
			switch i % 4 {
			case 0, 1:
				put(t, db, "n", key, i)
			case 2:
				err := db.Update(t.Context(), func(tx *Tx) error {
					err := errors.Join(tx.Put(Images, "n", key, thing{N: i}), tx.Put(Images, "n", "victim", thing{N: 2}), boom)
					return err
				})
				if !errors.Is(err, boom) {
					t.Errorf("%d: %v", i, err)
				}
			case 3:
				func() {
					defer func() {
						if p := recover(); p != "panic "+key {
							t.Errorf("%d: recovered %v", i, p)
						}
					}()
					_ = db.Update(t.Context(), func(tx *Tx) error {
						_ = tx.Delete(Images, "n", "victim")
						panic("panic " + key)
					})
				}()
			}
		})
	}
	wg.Wait()
	got := dump(t, db, "n")
	if len(got) != 101 || got["victim"] != 1 {
		t.Fatalf("%d records, victim %d", len(got), got["victim"])
	}
	for i := range 200 {
		if _, there := got[strconv.Itoa(i)]; there != (i%4 < 2) {
			t.Errorf("%d: there %v", i, there)
		}
	}
	if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
		t.Fatalf("check: %v %v", problems, err)
	}
}

func TestCancelInQueue(t *testing.T) {
	db := open(t, Options{})
	inside, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Update(t.Context(), func(*Tx) error { close(inside); <-leave; return nil })
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		result <- db.Update(ctx, func(tx *Tx) error { return tx.Put(Images, "n", "late", thing{}) })
	}()
	for queued := 0; queued == 0; {
		db.mu.Lock()
		queued = len(db.queue)
		db.mu.Unlock()
	}
	cancel()
	if err := <-result; !errdefs.Is(err, errdefs.ErrCancelled) {
		t.Errorf("cancelled: %v", err)
	}
	close(leave)
	wg.Wait()
	put(t, db, "n", "after", 1)
	if got := dump(t, db, "n"); len(got) != 1 {
		t.Errorf("records %v", got)
	}
}

func TestLock(t *testing.T) {
	db := open(t, Options{})
	begin := time.Now()
	_, err := Open(db.Path(), Options{LockTimeout: 50 * time.Millisecond})
	if !errdefs.Is(err, errdefs.ErrUnavailable) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second open: %v after %s", err, time.Since(begin))
	}
	// Whoever waits gets it as soon as it is free.
	got := make(chan error)
	go func() {
		second, err := Open(db.Path(), Options{LockTimeout: 20 * time.Second})
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := db.Update(t.Context(), func(*Tx) error { return nil }); !errdefs.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("update after close: %v", err)
	}
	if err := db.View(t.Context(), func(*Tx) error { return nil }); !errdefs.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("view after close: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	db := open(t, Options{})
	put(t, db, "n", "a", 7)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ro, err := Open(db.Path(), Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ro.Close() }()
	if got := dump(t, ro, "n"); got["a"] != 7 {
		t.Errorf("records %v", got)
	}
	if err := ro.Update(t.Context(), func(tx *Tx) error { return tx.Put(Images, "n", "b", 1) }); err == nil {
		t.Error("update of a read-only database worked")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.db"), Options{ReadOnly: true}); !errdefs.IsNotFound(err) {
		t.Errorf("read-only open of nothing: %v", err)
	}
}

func TestVolatile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.db")
	reopen := func() *DB {
		db, err := Open(path, Options{Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := reopen()
	put(t, db, "n", "a", 1)
	_ = db.Close()
	db = reopen()
	if got := dump(t, db, "n"); got["a"] != 1 {
		t.Errorf("same boot: %v", got)
	}
	_ = db.Close()
	if err := os.WriteFile(path+bootSuffix, []byte("another boot"), 0o600); err != nil {
		t.Fatal(err)
	}
	db = reopen()
	defer func() { _ = db.Close() }()
	if got := dump(t, db, "n"); len(got) != 0 {
		t.Errorf("other boot: %v", got)
	}
}

func TestMigrate(t *testing.T) {
	db := open(t, Options{})
	put(t, db, "n", "a", 1)
	steps := []step{
		func(tx *Tx) error { return tx.Put(Images, "n", "b", thing{N: 2}) },
		func(tx *Tx) error {
			return errors.Join(tx.Delete(Images, "n", "a"), tx.Put(Images, "n", "c", thing{N: 3}))
		},
	}
	boom := errors.New("boom")
	if err := db.migrate(1, []step{steps[0], func(*Tx) error { return boom }}); !errors.Is(err, boom) {
		t.Fatalf("broken step: %v", err)
	}
	if v, err := db.schema(); v != 2 || err != nil {
		t.Fatalf("after a broken second step: schema %d, %v", v, err)
	}
	if err := db.migrate(2, steps); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, db, "n"); len(got) != 2 || got["b"] != 2 || got["c"] != 3 {
		t.Errorf("records %v", got)
	}
	old, err := Open(db.Path()+".schema1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	if got := dump(t, old, "n"); len(got) != 1 || got["a"] != 1 {
		t.Errorf("backup %v", got)
	}
	_ = db.Close()
	if _, err := Open(db.Path(), Options{}); !errdefs.Is(err, errdefs.ErrFailedPrecondition) || !strings.Contains(err.Error(), "newer") {
		t.Errorf("newer schema: %v", err)
	}
}

func TestBackup(t *testing.T) {
	db := open(t, Options{})
	for i := range 50 {
		put(t, db, "n", strconv.Itoa(i), i)
	}
	to := filepath.Join(t.TempDir(), "copy.db")
	for range 2 {
		if err := db.Backup(t.Context(), to); err != nil {
			t.Fatal(err)
		}
	}
	second, err := Open(to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	if got := dump(t, second, "n"); len(got) != 50 || got["49"] != 49 {
		t.Errorf("%d records", len(got))
	}
}

// TestBrokenAfterSyncError: after a failed commit nothing more is written, since the kernel may have dropped pages.
func TestBrokenAfterSyncError(t *testing.T) {
	db := open(t, Options{})
	put(t, db, "n", "a", 1)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	db.mu.Lock()
	db.broken = errdefs.Unavailable("disk")
	db.mu.Unlock()
	if err := db.Update(t.Context(), func(tx *Tx) error { return tx.Put(Images, "n", "b", 1) }); !errdefs.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("update: %v", err)
	}
	if got := dump(t, db, "n"); len(got) != 1 {
		t.Errorf("records %v", got)
	}
}

// TestForeignRecord: what bbolt finds in order but Conex did not write is damage.
func TestForeignRecord(t *testing.T) {
	db := open(t, Options{})
	put(t, db, "n", "a", 1)
	put(t, db, "n", "b", 2)
	err := db.bolt.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(recordsBucket).Bucket([]byte(Images)).Bucket([]byte("n")).Delete([]byte("a"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if problems, err := db.Check(t.Context()); err != nil || len(problems) != 1 {
		t.Errorf("check: %v %v", problems, err)
	}
	_ = db.Close()
	if _, err := Open(db.Path(), Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("open: %v", err)
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, volatile := range []bool{false, true} {
		name := "durable"
		if volatile {
			name = "volatile"
		}
		b.Run(name, func(b *testing.B) {
			db := open(b, Options{Volatile: volatile})
			for i := 0; b.Loop(); i++ {
				put(b, db, "n", strconv.Itoa(i%1000), i)
			}
		})
		b.Run(name+"-32-parallel", func(b *testing.B) {
			db := open(b, Options{Volatile: volatile})
			b.SetParallelism(16) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					put(b, db, "n", strconv.Itoa(i%1000), i)
				}
			})
		})
	}
}
