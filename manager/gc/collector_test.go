package gc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/native"
)

type world struct {
	t         testing.TB
	dir       string
	db, run   *metadata.DB
	content   *content.Store
	snapshots *snapshot.Store
	leases    *lease.Manager
	*Collector
}

func newWorld(t testing.TB) *world {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	w := &world{t: t, dir: t.TempDir()}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.db, err = metadata.Open(filepath.Join(w.dir, "conex.db"), metadata.Options{})
	w.must(err)
	w.run, err = metadata.Open(filepath.Join(w.dir, "run.db"), metadata.Options{Volatile: true})
	w.must(err)
	w.content, err = content.Open(filepath.Join(w.dir, "content"), w.db)
	w.must(err)
	w.snapshots, err = snapshot.Open(filepath.Join(w.dir, "snapshot"), w.db, w.run, native.New())
	w.must(err)
	w.leases = lease.New(w.run)
	w.Collector = New(Config{DB: w.db, Volatile: w.run, Content: w.content, Snapshots: w.snapshots, Leases: w.leases})
}

func (w *world) close() {
	w.Collector.Close()
	w.must(errors.Join(w.content.Close(), w.snapshots.Close(), w.db.Close(), w.run.Close()))
}

func (w *world) blob(mediaType string, v any) ocispec.Descriptor {
	w.t.Helper()
	data, ok := v.([]byte)
	if !ok {
		var err error
		data, err = json.Marshal(v)
		w.must(err)
	}
	d, err := w.content.WriteBytes(w.t.Context(), mediaType, data, nil)
	w.must(err)
	return d
}

func (w *world) layer(name, parent string) {
	w.t.Helper()
	key := "extract-" + name
	_, err := w.snapshots.Prepare(w.t.Context(), key, parent)
	w.must(err)
	w.must(w.snapshots.Commit(w.t.Context(), name, key))
}

// manifest makes the blobs and snapshots of an image with these layers, and returns the manifest.
func (w *world) manifest(layers ...string) ocispec.Descriptor {
	w.t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers"}}
	for _, l := range layers {
		m.Layers = append(m.Layers, w.blob(ocispec.MediaTypeImageLayer, []byte(l)))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromString(l))
	}
	m.Config = w.blob(ocispec.MediaTypeImageConfig, config)
	parent := ""
	for _, chain := range identity.ChainIDs(slices.Clone(config.RootFS.DiffIDs)) {
		if _, err := w.snapshots.Stat(w.t.Context(), chain.String()); errdefs.IsNotFound(err) {
			w.layer(chain.String(), parent)
		}
		parent = chain.String()
	}
	return w.blob(ocispec.MediaTypeImageManifest, m)
}

func (w *world) image(name string, target ocispec.Descriptor) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *metadata.Tx) error {
		return tx.Put(metadata.Images, "moby", name, map[string]any{"name": name, "target": target})
	}))
}

func (w *world) remove(kind metadata.Kind, name string) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *metadata.Tx) error { return tx.Delete(kind, "moby", name) }))
}

func (w *world) collect() Report {
	w.t.Helper()
	r, err := w.Run(w.t.Context())
	w.must(err)
	return r
}

// count returns what is there.
func (w *world) count() (blobs, snapshots int) {
	w.t.Helper()
	w.must(w.content.Walk(w.t.Context(), func(content.Info) error { blobs++; return nil }))
	w.must(w.snapshots.Walk(w.t.Context(), func(snapshot.Info) error { snapshots++; return nil }))
	return blobs, snapshots
}

func (w *world) want(what string, blobs, snapshots int) {
	w.t.Helper()
	if b, s := w.count(); b != blobs || s != snapshots {
		w.t.Errorf("%s: %d blobs and %d snapshots are left, want %d and %d", what, b, s, blobs, snapshots)
	}
}

func TestImages(t *testing.T) {
	w := newWorld(t)
	one, two := w.manifest("a", "b"), w.manifest("a", "c", "d")
	index := w.blob(ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{one, two, {Digest: digest.FromString("absent")}}})
	w.image("index", index)
	w.image("one", one)
	w.blob("", []byte("waste"))
	w.layer("waste1", "")
	w.layer("waste2", "waste1")
	w.layer("waste3", "waste2")
	w.want("before", 10, 7)
	r := w.collect()
	w.want("waste", 9, 4)
	if len(r.Blobs) != 1 || len(r.Snapshots) != 3 || r.Snapshots[0] != "waste3" || r.Bytes < 5 {
		t.Errorf("report %+v", r)
	}
	w.remove(metadata.Images, "index")
	w.collect()
	w.want("one image", 4, 2)
	w.remove(metadata.Images, "one")
	w.collect()
	w.want("no image", 0, 0)
	if r := w.collect(); len(r.Blobs)+len(r.Snapshots) != 0 || r.Bytes != 0 {
		t.Errorf("of nothing: %+v", r)
	}
}

// A platform that was dropped goes, and what it shares with another stays; a lease holds it all the same.
func TestDroppedPlatform(t *testing.T) {
	w := newWorld(t)
	kept, dropped := w.manifest("base", "kept"), w.manifest("base", "dropped")
	index := w.blob(ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{kept, dropped}})
	w.image("app", index)
	if r := w.collect(); len(r.Blobs) != 0 || len(r.Snapshots) != 0 {
		t.Errorf("%+v", r)
	}
	_, err := w.content.Update(t.Context(), index.Digest, map[string]string{content.LabelGCDropContent + dropped.Digest.String(): "platform"})
	w.must(err)
	l, err := w.leases.Create(t.Context(), "moby", lease.Options{})
	w.must(err)
	w.must(w.leases.Add(t.Context(), "moby", l.ID, lease.Resource{Type: lease.Content, ID: dropped.Digest.String()}))
	if r := w.collect(); len(r.Blobs) != 0 || len(r.Snapshots) != 0 {
		t.Errorf("leased: %+v", r)
	}
	w.must(w.leases.Delete(t.Context(), "moby", l.ID))
	if r := w.collect(); len(r.Blobs) != 3 || len(r.Snapshots) != 1 { // manifest, config, layer
		t.Errorf("%+v", r)
	}
}

func TestContainers(t *testing.T) {
	w := newWorld(t)
	w.image("i", w.manifest("a", "b"))
	chain := identity.ChainID([]digest.Digest{digest.FromString("a"), digest.FromString("b")}).String()
	_, err := w.snapshots.Prepare(t.Context(), "c1", chain)
	w.must(err)
	_, err = w.snapshots.Prepare(t.Context(), "c2", chain, snapshot.Volatile())
	w.must(err)
	_, err = w.snapshots.Prepare(t.Context(), "extract-x", chain)
	w.must(err)
	for db, key := range map[*metadata.DB]string{w.db: "c1", w.run: "c2"} {
		w.must(db.Update(t.Context(), func(tx *metadata.Tx) error {
			return tx.Put(metadata.Containers, "moby", key, map[string]string{"id": key})
		}))
	}
	w.remove(metadata.Images, "i")
	w.collect()
	w.want("containers of a removed image", 0, 5)
	// After a restart, what nobody has is over.
	w.close()
	w.open()
	w.collect()
	w.want("after a restart", 0, 4)
	w.remove(metadata.Containers, "c1")
	w.must(w.snapshots.Remove(t.Context(), "c1"))
	w.must(w.run.Update(t.Context(), func(tx *metadata.Tx) error { return tx.Delete(metadata.Containers, "moby", "c2") }))
	w.must(w.snapshots.Remove(t.Context(), "c2"))
	w.collect()
	w.want("at the end", 0, 0)
}

func TestLabelsAndLeases(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	kept, below, root := w.blob("", []byte("kept")), w.blob("", []byte("below")), w.blob("", []byte("root"))
	w.layer("labelled", "")
	w.layer("pinned", "")
	_, err := w.content.Update(ctx, root.Digest, map[string]string{content.LabelGCRoot: "yes",
		content.LabelGCRefContent + ".0": kept.Digest.String(), content.LabelGCRefSnapshot + "overlayfs": "labelled"})
	w.must(err)
	_, err = w.content.Update(ctx, kept.Digest, map[string]string{content.LabelGCRefContent + ".l.0": below.Digest.String()})
	w.must(err)
	_, err = w.snapshots.Prepare(ctx, "x", "")
	w.must(err)
	w.must(w.snapshots.Commit(ctx, "rooted", "x", snapshot.WithLabels(map[string]string{content.LabelGCRoot: "yes"})))
	leased := w.blob("", []byte("leased"))
	h, err := w.leases.Create(ctx, "moby", lease.Options{})
	w.must(err)
	w.must(w.leases.Add(ctx, "moby", h.ID, lease.Resource{Type: lease.Content, ID: leased.Digest.String()},
		lease.Resource{Type: lease.Snapshot, ID: "pinned"}))
	w.collect()
	w.want("all", 4, 3)
	w.must(w.leases.Delete(ctx, "moby", h.ID))
	w.collect()
	w.want("lease over", 3, 2)
	_, err = w.content.Update(ctx, root.Digest, map[string]string{content.LabelGCRoot: ""})
	w.must(err)
	w.collect()
	w.want("label gone", 0, 1)
}

// TestPullsBeside runs pulls that follow the rule (lease, then look) while the collector runs without a pause: no
// image ever misses a blob or a layer.
func TestPullsBeside(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	var collecting, pulling sync.WaitGroup
	collecting.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.Run(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 4 {
		pulling.Go(func() {
			for j := range 15 {
				name := fmt.Sprint("image", i)
				layers := []string{"base" + strconv.Itoa(j%2), name + strconv.Itoa(j%3)}
				if err := w.pull(t.Context(), name, layers); err != nil {
					t.Errorf("pull: %v", err)
				}
				if err := w.whole(t.Context(), name); err != nil {
					t.Errorf("image %s: %v", name, err)
				}
				w.remove(metadata.Images, name)
			}
		})
	}
	pulling.Wait()
	stop()
	collecting.Wait()
	w.collect()
	w.want("at the end", 0, 0)
}

func (w *world) pull(ctx context.Context, name string, layers []string) error {
	h, err := w.leases.Create(ctx, "moby", lease.Options{})
	if err != nil {
		return err
	}
	defer func() { w.must(w.leases.Delete(ctx, "moby", h.ID)) }()
	add := func(kind, id string) error {
		return w.leases.Add(ctx, "moby", h.ID, lease.Resource{Type: kind, ID: id})
	}
	write := func(data []byte) (ocispec.Descriptor, error) {
		if err := add(lease.Content, digest.FromBytes(data).String()); err != nil {
			return ocispec.Descriptor{}, err
		}
		return w.content.WriteBytes(ctx, "", data, nil)
	}
	m, config := ocispec.Manifest{}, ocispec.Image{}
	for _, l := range layers {
		d, err := write([]byte(l))
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromString(l))
	}
	parent := ""
	for _, c := range identity.ChainIDs(slices.Clone(config.RootFS.DiffIDs)) {
		if err := add(lease.Snapshot, c.String()); err != nil {
			return err
		}
		if _, err := w.snapshots.Stat(ctx, c.String()); err != nil {
			key := "extract-" + name + c.String()
			_, err := w.snapshots.Prepare(ctx, key, parent)
			for errdefs.Is(err, errdefs.ErrUnavailable) { // another pull is committing the parent just now
				_, err = w.snapshots.Prepare(ctx, key, parent)
			}
			if err != nil {
				return err
			}
			if err := w.snapshots.Commit(ctx, c.String(), key); errdefs.IsAlreadyExists(err) {
				err = w.snapshots.Remove(ctx, key)
				if err != nil {
					return err
				}
			} else if err != nil {
				return err
			}
		}
		parent = c.String()
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if m.Config, err = write(raw); err != nil {
		return err
	}
	if raw, err = json.Marshal(m); err != nil {
		return err
	}
	target, err := write(raw)
	if err != nil {
		return err
	}
	if err := w.content.Sync(ctx, target.Digest); err != nil {
		return err
	}
	w.image(name, target)
	return nil
}

// whole looks whether all of an image is there.
func (w *world) whole(ctx context.Context, name string) error {
	var img struct{ Target ocispec.Descriptor }
	err := w.db.View(ctx, func(tx *metadata.Tx) error { return tx.Get(metadata.Images, "moby", name, &img) })
	if err != nil {
		return err
	}
	doc, err := readDocument(ctx, w.content, img.Target.Digest)
	if err != nil {
		return err
	}
	for _, d := range doc.blobs {
		inner, err := readDocument(ctx, w.content, d)
		if err != nil {
			return err
		}
		for _, c := range inner.chains {
			if _, err := w.snapshots.Stat(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestTrigger(t *testing.T) {
	w := newWorld(t)
	w.blob("", []byte("waste"))
	done := make(chan Report, 10)
	w.Done = func(r Report, err error) {
		w.must(err)
		done <- r
	}
	for range 5 {
		w.Trigger(t.Context())
	}
	if r := <-done; len(r.Blobs) != 1 {
		t.Errorf("report %+v", r)
	}
	w.Collector.Close()
	w.Trigger(t.Context())
	if len(done) > 4 {
		t.Error("triggers were not joined")
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"digest":"sha256:x"}],"layers":[{"digest":"y"}],"config":{"digest":"z"}}`))
	f.Add([]byte(`{"config":{"Cmd":["sh"]},"rootfs":{"diff_ids":["sha256:` + digest.FromString("a").Encoded() + `"]}}`))
	f.Add([]byte(" {\"layers\":7,\"rootfs\":{\"diff_ids\":[\"bad\"]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, c := range parseDocument(data).chains {
			if digest.Digest(c).Validate() != nil {
				t.Errorf("chain %q", c)
			}
		}
	})
}

func TestDocument(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	for text, want := range map[string]document{
		`{"manifests":[{"digest":"m1"},{"digest":"m2"}],"subject":{"digest":"s"}}`: {blobs: []digest.Digest{"m1", "m2", "s"}},
		`{"layers":[{"digest":"l"}],"config":{"digest":"c"}}`:                      {blobs: []digest.Digest{"l", "c"}},
		`{"config":{"Cmd":["x"],"digest":5},"rootfs":{"diff_ids":["` + a.String() + `","` + b.String() + `"]}}`: {
			chains: []string{a.String(), digest.FromString(a.String() + " " + b.String()).String()}},
		"\x1f\x8b gzip": {},
		``:              {},
		`[]`:            {},
	} {
		if got := parseDocument([]byte(text)); !slices.Equal(got.blobs, want.blobs) || !slices.Equal(got.chains, want.chains) {
			t.Errorf("%.40s: %+v, want %+v", text, got, want)
		}
	}
}
