package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/linux/mount"
	"github.com/conex-containers/conex/manager/layer"
	"github.com/conex-containers/conex/manager/snapshot"
)

// Unpack makes sure that the snapshots of the image's layers exist and returns the key of the topmost. It is
// idempotent; what is there is not touched.
func (s *Service) Unpack(ctx context.Context, d Detail) (string, error) {
	doc, err := s.open(ctx, d.Manifest, hostPlatform())
	if err != nil {
		return "", fmt.Errorf("image %s: unpack: %w", shortDigest(d.ID), err)
	}
	if missing, err := s.missingFrom(ctx, doc); err == nil && missing == len(doc.layers) {
		return doc.chain(), nil
	}
	err = s.holding(ctx, "", func(h *hold) error { return s.unpackStored(ctx, h, doc, nil) })
	if err != nil {
		return "", fmt.Errorf("image %s: unpack: %w", shortDigest(d.ID), err)
	}
	return doc.chain(), nil
}

// unpackStored unpacks a document whose layers are all in the content store.
func (s *Service) unpackStored(ctx context.Context, h *hold, doc *document, rep *reporter) error {
	if err := h.snapshots(ctx, doc.chains...); err != nil {
		return err
	}
	first, err := s.missingFrom(ctx, doc)
	if err != nil {
		return err
	}
	return s.unpackFrom(ctx, h, first, unpacking{doc: doc, rep: rep, open: func(ctx context.Context, i int) (io.ReadCloser, error) {
		return s.Content.Reader(ctx, doc.layers[i].Digest)
	}})
}

// unpackFrom makes the snapshots of the layers from first on. Where the snapshotter can stack they are unpacked side by
// side, and each comes onto the one below when that is whole:
//
//	layer 0  ▓▓▓▓▓▓▓▓▓▓ commit ─┐
//	layer 1  ▓▓▓▓▓▓▓    waits   └▶ onto 0, commit ─┐
//	layer 2  ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓                 └▶ onto 1, commit
func (s *Service) unpackFrom(ctx context.Context, h *hold, first int, all unpacking) error {
	stack, _ := s.Snapshots.(snapshot.Stacker)
	width, begun := 1, 1
	if stack != nil && stack.Stacks() {
		width, begun = min(max(runtime.GOMAXPROCS(0), minUnpacks), maxUnpacks), maxBegun
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(begun) // in order, so that the lowest that is not whole is always one of those that run
	places := make(chan struct{}, width)
	below := make(chan struct{})
	close(below)
	for i := first; i < len(all.doc.layers); i++ {
		u, whole := all, make(chan struct{})
		u.i, u.below, below = i, below, whole
		if begun > 1 && i > first {
			u.stack = stack
		}
		places <- struct{}{}
		u.leave = sync.OnceFunc(func() { <-places })
		group.Go(func() error {
			defer u.leave()
			if err := s.unpackLayer(ctx, h, &u); err != nil {
				return err
			}
			close(whole)
			if u.done != nil {
				u.done(i)
			}
			return nil
		})
	}
	return group.Wait()
}

// How many layers of an image are unpacked at once, which takes two or three busy threads and 3 MB each; and with them
// those that wait for the layers below.
const (
	minUnpacks = 2
	maxUnpacks = 8
	maxBegun   = 16
)

// unpacking is one layer of an image on its way into a snapshot.
type unpacking struct {
	doc   *document
	i     int
	below <-chan struct{}  // closed when the layer below has its snapshot
	leave func()           // lets another layer begin
	stack snapshot.Stacker // nil: it is begun when the one below is whole
	open  func(context.Context, int) (io.ReadCloser, error)
	done  func(int) // may be nil
	rep   *reporter
}

// parent waits for the snapshot below and returns its key.
func (u *unpacking) parent(ctx context.Context) (string, error) {
	if u.stack != nil {
		u.leave()
	}
	select {
	case <-u.below:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if u.i == 0 {
		return "", nil
	}
	return u.doc.chains[u.i-1], nil
}

// missingFrom returns the index of the first layer whose snapshot is not there, the number of layers when all are. One
// may be missing below others: what was lost and forgotten.
func (s *Service) missingFrom(ctx context.Context, doc *document) (int, error) {
	for i, chain := range doc.chains {
		_, err := s.Snapshots.Stat(ctx, chain)
		switch {
		case err == nil:
		case errdefs.IsNotFound(err), errdefs.Is(err, errdefs.ErrUnavailable): // unavailable: being made just now
			return i, nil
		default:
			return 0, err
		}
	}
	return len(doc.chains), nil
}

// unpackLayer makes the snapshot of one layer, unless it is there. One caller at a time works on a chainID; the others
// find it made. Who holds a chainID waits for those below it only.
func (s *Service) unpackLayer(ctx context.Context, h *hold, u *unpacking) error {
	chain, desc := u.doc.chains[u.i], u.doc.layers[u.i]
	unlock, err := s.chains.lock(ctx, chain)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.Snapshots.Stat(ctx, chain); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	r, err := u.open(ctx, u.i)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	bar := &barReader{r: r, rep: u.rep, id: shortDigest(desc.Digest), total: desc.Size, word: "Extracting"}
	want := u.doc.image.RootFS.DiffIDs[u.i]
	if _, err = s.applyLayer(ctx, h, parentage{parent: u.parent, stack: u.stack}, want, bar); err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	return nil
}

// parentage says what a layer comes onto.
type parentage struct {
	parent func(context.Context) (string, error) // "" for none; may wait
	stack  snapshot.Stacker                      // nil: the parent is asked for first
}

// alone is the parentage of an image's only layer.
var alone = parentage{parent: func(context.Context) (string, error) { return "", nil }}

// applyLayer unpacks one layer and commits it under its chainID, which it returns. With want the uncompressed stream
// must have that digest (attack I11); without, whatever it has.
func (s *Service) applyLayer(ctx context.Context, h *hold, p parentage, want digest.Digest, r io.Reader) (_ string, err error) {
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	key := "extract-" + rand.Text() + " " + want.String()
	if err := h.snapshots(ctx, key); err != nil {
		return "", err
	}
	parent := ""
	if p.stack == nil {
		if parent, err = p.parent(ctx); err != nil {
			return "", err
		}
	}
	mounts, err := s.Snapshots.Prepare(ctx, key, parent)
	if err != nil {
		return "", fmt.Errorf("prepare snapshot: %w", err)
	}
	undo.Add(func(ctx context.Context) error { return s.Snapshots.Remove(ctx, key) })
	target, err := targetOf(mounts, parent == "")
	if err != nil {
		return "", err
	}
	if p.stack != nil {
		target.Overlay, target.Base = true, false
		target.Below = func() (_ []string, err error) {
			if parent, err = p.parent(ctx); err != nil {
				return nil, err
			}
			return onto(ctx, p.stack, key, parent)
		}
	}
	got, err := layer.Apply(ctx, target, r, layer.Limits{})
	if err != nil {
		return "", roomError(err)
	}
	// A reader may not have been asked for its end: that is where it says whether the blob was right.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return "", err
	}
	if want != "" && got.DiffID != want {
		return "", errdefs.InvalidArgument("its content has the digest %s, but the image config says %s", got.DiffID, want)
	}
	chain := got.DiffID.String()
	if parent != "" {
		chain = digest.FromString(parent + " " + chain).String()
	}
	err = s.Snapshots.Commit(ctx, chain, key, snapshot.WithSize(got.Files))
	if errdefs.IsAlreadyExists(err) {
		return chain, nil // the active one is removed by undo
	}
	if err != nil {
		return "", fmt.Errorf("commit snapshot: %w", err)
	}
	undo.Release()
	return chain, nil
}

// onto puts the snapshot on its parent and returns the directories of the layers below.
func onto(ctx context.Context, stack snapshot.Stacker, key, parent string) ([]string, error) {
	mounts, err := stack.Onto(ctx, key, parent)
	if err != nil {
		return nil, fmt.Errorf("prepare snapshot: %w", err)
	}
	target, err := targetOf(mounts, false)
	return target.Lower, err
}

// roomError says what to do about a full disk.
func roomError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return errdefs.With(errdefs.ErrResourceExhausted, fmt.Errorf("no space left for unpacked layers: remove images (prune) or make room: %w", err))
	}
	return err
}

// targetOf finds in a snapshot's mounts where its files go.
func targetOf(mounts []mount.Mount, base bool) (layer.Target, error) {
	if len(mounts) != 1 {
		return layer.Target{}, fmt.Errorf("snapshot with %d mounts cannot be unpacked into", len(mounts))
	}
	m := mounts[0]
	if m.Type != "overlay" {
		return layer.Target{Dir: m.Source, Base: base}, nil
	}
	t := layer.Target{Overlay: true}
	for _, o := range m.Options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "upperdir":
			t.Dir = value
		case "lowerdir":
			t.Lower = append(t.Lower, strings.Split(value, ":")...)
		case "lowerdir+":
			t.Lower = append(t.Lower, value)
		}
	}
	if t.Dir == "" {
		return layer.Target{}, errors.New("overlay snapshot without an upper directory")
	}
	return t, nil
}

// barReader moves the bar of a layer being extracted.
type barReader struct {
	r     io.Reader
	rep   *reporter
	id    string
	word  string // of the status
	n     int64
	total int64
}

func (b *barReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.rep.move(b.id, b.word, b.n, b.total)
	return n, err
}
