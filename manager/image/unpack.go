package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
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
	for i := first; i < len(doc.layers); i++ {
		err := s.unpackLayer(ctx, h, doc, i, rep, func() (io.ReadCloser, error) { return s.Content.Reader(ctx, doc.layers[i].Digest) })
		if err != nil {
			return err
		}
	}
	return nil
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

// unpackLayer makes the snapshot of layer i from what open gives, unless it is there. One caller at a time works on
// a chainID; the others find it made.
func (s *Service) unpackLayer(ctx context.Context, h *hold, doc *document, i int, rep *reporter, open func() (io.ReadCloser, error)) error {
	unlock, err := s.chains.lock(ctx, doc.chains[i])
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.Snapshots.Stat(ctx, doc.chains[i]); err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	desc, parent := doc.layers[i], ""
	if i > 0 {
		parent = doc.chains[i-1]
	}
	bar := &barReader{r: r, rep: rep, id: shortDigest(desc.Digest), total: desc.Size, word: "Extracting"}
	if _, err = s.applyLayer(ctx, h, parent, doc.image.RootFS.DiffIDs[i], bar); err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	return nil
}

// applyLayer unpacks one layer onto parent and commits it under its chainID, which it returns. With want the
// uncompressed stream must have that digest (attack I11); without, whatever it has.
func (s *Service) applyLayer(ctx context.Context, h *hold, parent string, want digest.Digest, r io.Reader) (_ string, err error) {
	var undo cleanup.Stack
	defer undo.Run(ctx, &err)
	key := "extract-" + rand.Text() + " " + want.String()
	if err := h.snapshots(ctx, key); err != nil {
		return "", err
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
