package content

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

type fixture struct {
	t   testing.TB
	dir string
	db  *metadata.DB
	*Store
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t, dir: t.TempDir()}
	f.open()
	t.Cleanup(f.close)
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	var err error
	if f.db, err = metadata.Open(filepath.Join(f.dir, "conex.db"), metadata.Options{}); err != nil {
		f.t.Fatal(err)
	}
	if f.Store, err = Open(filepath.Join(f.dir, "content"), f.db); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) close() {
	if f.Store == nil {
		return
	}
	if err := errors.Join(f.Store.Close(), f.db.Close()); err != nil {
		f.t.Error(err)
	}
	f.Store = nil
}

func (f *fixture) put(data string, labels map[string]string) digest.Digest {
	f.t.Helper()
	d, err := f.WriteBytes(f.t.Context(), "text/plain", []byte(data), labels)
	if err != nil {
		f.t.Fatal(err)
	}
	return d.Digest
}

func (f *fixture) get(d digest.Digest) string {
	f.t.Helper()
	data, err := f.ReadAll(f.t.Context(), d, 1<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(data)
}

// ingests lists the files under ingest/.
func (f *fixture) ingests() []string {
	f.t.Helper()
	entries, err := os.ReadDir(filepath.Join(f.dir, "content", "ingest"))
	if err != nil {
		f.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func descriptor(data string) ocispec.Descriptor {
	return ocispec.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
}

func TestBlob(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	d := f.put("hello", map[string]string{"a": "1"})
	for range 2 { // the second time from the disk
		i, err := f.Info(ctx, d)
		if err != nil || i.Size != 5 || i.Labels["a"] != "1" || i.CreatedAt.IsZero() {
			t.Errorf("info %+v, %v", i, err)
		}
		b, err := f.Reader(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 3)
		if n, err := b.ReadAt(part, 1); n != 3 || err != nil || string(part) != "ell" {
			t.Errorf("read at: %q %v", part, err)
		}
		if all, err := io.ReadAll(b); err != nil || string(all) != "hello" || b.Size() != 5 {
			t.Errorf("read: %q %v", all, err)
		}
		_ = b.Close()
		if err := f.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.ReadAll(ctx, d, 4); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("limit: %v", err)
	}
	f.put("hello", map[string]string{"b": "2"})
	if i, err := f.Update(ctx, d, map[string]string{"a": "", "c": "3"}); err != nil || len(i.Labels) != 2 || i.Labels["b"] != "2" {
		t.Errorf("labels %v, %v", i.Labels, err)
	}
	f.close()
	f.open()
	if i, err := f.Info(ctx, d); err != nil || i.Labels["c"] != "3" || f.get(d) != "hello" {
		t.Errorf("reopened: %+v, %v", i, err)
	}
	b, err := f.Reader(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(ctx, d); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(b); err != nil || string(all) != "hello" {
		t.Errorf("read after delete: %q %v", all, err)
	}
	_ = b.Close()
	for what, err := range map[string]error{
		"info":   func() error { _, err := f.Info(ctx, d); return err }(),
		"reader": func() error { _, err := f.Reader(ctx, d); return err }(),
		"delete": f.Delete(ctx, d),
		"update": func() error { _, err := f.Update(ctx, d, nil); return err }(),
	} {
		if !errdefs.IsNotFound(err) {
			t.Errorf("%s after delete: %v", what, err)
		}
	}
	if got := f.ingests(); len(got) != 0 {
		t.Errorf("left in ingest: %v", got)
	}
}

// TestBadDigest: no string that is not a digest gets near a path (attack I22).
func TestBadDigest(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	for _, d := range []digest.Digest{"", "sha256:", "sha256:../../x", "sha256:" + digest.Digest(strings.Repeat("A", 64)), "../../etc/passwd",
		"md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + digest.Digest(strings.Repeat("a", 63)), "sha256:" + digest.Digest(strings.Repeat("a", 62)+"/x")} {
		_, info := f.Info(ctx, d)
		_, reader := f.Reader(ctx, d)
		var writer error
		if d != "" {
			_, writer = f.Writer(ctx, "ref", ocispec.Descriptor{Digest: d})
		} else {
			writer = errdefs.InvalidArgument("none is allowed")
		}
		for _, err := range []error{info, reader, f.Delete(ctx, d), writer} {
			if !errdefs.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%q: %v", d, err)
			}
		}
	}
}

func TestWriter(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	want := descriptor("hello world")
	w, err := f.Writer(ctx, "layer", want)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if _, err := io.WriteString(w, s); err != nil {
			t.Fatal(err)
		}
	}
	write("hello ")
	if err := w.Commit(ctx, nil); !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "6 bytes came where 11") {
		t.Errorf("short commit: %v", err)
	}
	// The bytes are kept, over a restart too.
	f.close()
	f.open()
	if w, err = f.Writer(ctx, "layer", want); err != nil || w.Offset() != 6 {
		t.Fatalf("resumed at %d, %v", w.Offset(), err)
	}
	if _, err := io.WriteString(w, "worlds of bytes"); !errdefs.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("too many bytes: %v", err)
	}
	write("WORLD")
	err = w.Commit(ctx, nil)
	if !errdefs.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), want.Digest.String()) ||
		!strings.Contains(err.Error(), digest.FromString("hello WORLD").String()) {
		t.Errorf("wrong digest: %v", err)
	}
	if w, err = f.Writer(ctx, "layer", want); err != nil || w.Offset() != 0 {
		t.Fatalf("after a wrong digest: at %d, %v", w.Offset(), err)
	}
	write("rubbish")
	if err := w.Truncate(0); err != nil {
		t.Fatal(err)
	}
	write("hello world")
	if err := w.Commit(ctx, map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), w.Abort()); err != nil {
		t.Error(err)
	}
	if got := f.get(want.Digest); got != "hello world" {
		t.Errorf("content %q", got)
	}
	if _, err := f.Writer(ctx, "other", want); !errdefs.IsAlreadyExists(err) {
		t.Errorf("writer of what is there: %v", err)
	}
	// Another digest under the same ref begins anew; an unknown one is found out.
	w, err = f.Writer(ctx, "layer", ocispec.Descriptor{})
	if err != nil || w.Offset() != 0 {
		t.Fatal(err)
	}
	write("no name")
	got := w.Digest()
	if err := w.Commit(ctx, nil); err != nil || got != digest.FromString("no name") || f.get(got) != "no name" {
		t.Errorf("unknown digest: %v", err)
	}
	if w, err = f.Writer(ctx, "aborted", descriptor("x")); err != nil {
		t.Fatal(err)
	}
	write("x")
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	if err := f.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if left := f.ingests(); len(left) != 0 {
		t.Errorf("left in ingest: %v", left)
	}
}

func TestSha512(t *testing.T) {
	f := newFixture(t)
	want := ocispec.Descriptor{Digest: digest.SHA512.FromString("x"), Size: 1}
	w, err := f.Writer(t.Context(), "r", want)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "x")
	if err := errors.Join(w.Commit(t.Context(), nil), f.Sync(t.Context())); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open()
	if f.get(want.Digest) != "x" {
		t.Error("content")
	}
}

// TestOneWriter: of twenty clients with one ref, one writes; the others find the blob.
func TestOneWriter(t *testing.T) {
	f := newFixture(t)
	data := strings.Repeat("layer", 100000)
	want := descriptor(data)
	var wrote, found, inside atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			w, err := f.Writer(t.Context(), "layer", want)
			if errdefs.IsAlreadyExists(err) {
				found.Add(1)
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two write at once")
			}
			_, err = io.WriteString(w, data)
			inside.Add(-1)
			if err = errors.Join(err, w.Commit(t.Context(), nil)); err != nil {
				t.Error(err)
			}
			wrote.Add(1)
		})
	}
	wg.Wait()
	if wrote.Load() != 1 || found.Load() != 19 {
		t.Errorf("%d wrote, %d found", wrote.Load(), found.Load())
	}
	w, err := f.Writer(t.Context(), "slow", descriptor("x"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := f.Writer(ctx, "slow", descriptor("x")); !errdefs.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("second writer: %v", err)
	}
	_ = w.Close()
	if left := f.ingests(); len(left) > 1 {
		t.Errorf("left in ingest: %v", left)
	}
}

// TestSameBlobTwice: different refs bring the same blob at the same time.
func TestSameBlobTwice(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			w, err := f.Writer(t.Context(), strconv.Itoa(i), ocispec.Descriptor{})
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(w, "same")
			if err := w.Commit(t.Context(), map[string]string{"k" + strconv.Itoa(i): "v"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	i, err := f.Info(t.Context(), digest.FromString("same"))
	if err != nil || len(i.Labels) != 30 {
		t.Errorf("%d labels, %v", len(i.Labels), err)
	}
	if left := f.ingests(); len(left) != 0 {
		t.Errorf("left in ingest: %v", left)
	}
}

func TestDeleteWhileWriting(t *testing.T) {
	f := newFixture(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 40 {
				data := strconv.Itoa((i*7 + j) % 10)
				if _, err := f.WriteBytes(t.Context(), "", []byte(data), nil); err != nil {
					t.Error(err)
				}
				if err := f.Delete(t.Context(), digest.FromString(strconv.Itoa((i+j)%10))); err != nil && !errdefs.IsNotFound(err) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := f.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := f.Walk(t.Context(), func(i Info) error { n++; f.get(i.Digest); return nil }); err != nil {
		t.Error(err)
	}
	files, err := f.blobFiles()
	if err != nil || len(files) != n {
		t.Errorf("%d records, %d files, %v", n, len(files), err)
	}
}

func TestReconcile(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	lost, cut, kept := f.put("lost", nil), f.put("cut off", nil), f.put("kept", nil)
	if err := f.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(f.path(lost)), os.Truncate(f.path(cut), 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Reader(ctx, lost); !errdefs.IsNotFound(err) {
		t.Errorf("file is gone: %v", err)
	}
	if _, err := f.Reader(ctx, cut); err == nil {
		t.Error("a blob that was cut off could be read")
	}
	if err := os.WriteFile(f.path(kept), []byte("KEPT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAll(ctx, kept, 100); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("bit rot: %v", err)
	}
	problems, err := Audit(ctx, f.root, f.db, true)
	text := strings.Join(problems, "\n")
	if err != nil || len(problems) != 3 || !strings.Contains(text, "missing") || !strings.Contains(text, "3 bytes") || !strings.Contains(text, "changed") {
		t.Errorf("audit: %s, %v", text, err)
	}
	orphan := digest.FromString("orphan")
	old := filepath.Join(f.root, "ingest", "old")
	for path, data := range map[string]string{f.path(orphan): "orphan", old: "x", filepath.Join(f.root, "ingest", "young"): "y",
		filepath.Join(f.root, "ingest", trashPrefix+"z"): "z", filepath.Join(f.root, "blobs", "sha256", "no digest"): "?"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * IngestAge)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open()
	for _, d := range []digest.Digest{lost, cut} {
		if _, err := f.Info(ctx, d); !errdefs.IsNotFound(err) {
			t.Errorf("lost blob: %v", err)
		}
	}
	if f.put("cut off", nil) != cut || f.get(cut) != "cut off" {
		t.Error("a lost blob cannot be brought back")
	}
	if f.get(orphan) != "orphan" {
		t.Error("a blob without a record was not adopted")
	}
	if err := f.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if got := f.ingests(); len(got) != 1 || got[0] != "young" {
		t.Errorf("ingests %v", got)
	}
}

func TestLayout(t *testing.T) {
	f := newFixture(t)
	read := func(name string) (v map[string]any) {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join(f.Root(), name))
		if err == nil {
			err = json.Unmarshal(raw, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := read("oci-layout"); v["imageLayoutVersion"] != "1.0.0" {
		t.Errorf("oci-layout: %v", v)
	}
	if v := read("index.json"); v["schemaVersion"] != 2.0 || v["manifests"] == nil {
		t.Errorf("index.json: %v", v)
	}
	if err := f.SetIndex([]ocispec.Descriptor{descriptor("x")}); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open()
	if v := read("index.json"); len(v["manifests"].([]any)) != 1 {
		t.Errorf("index.json: %v", v)
	}
}

// TestSyncError: a blob whose sync fails is gone, and Sync says so.
func TestSyncError(t *testing.T) {
	f := newFixture(t)
	w, err := f.Writer(t.Context(), "r", descriptor("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "x")
	_ = w.file.Close() // makes the sync fail
	if err := w.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	d := digest.FromString("x")
	if err := f.flushed(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(t.Context(), d); err == nil {
		t.Error("sync of this blob says nothing")
	}
	if err := f.Sync(t.Context()); err == nil {
		t.Error("sync of all says nothing")
	}
	if _, err := f.Info(t.Context(), d); !errdefs.IsNotFound(err) {
		t.Errorf("blob: %v", err)
	}
	if f.put("x", nil) != d || f.Sync(t.Context()) != nil || f.get(d) != "x" {
		t.Error("it cannot be brought again")
	}
}
