package image

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/registry"
)

// Pull brings an image (with AllTags every tag of the repository) from its registry, unpacks it, and returns its
// record, which is written last. What a failed one has brought goes; of an interrupted one it stays for the next try.
func (s *Service) Pull(ctx context.Context, ns, name string, o PullOptions) (Image, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return Image{}, err
	}
	rep := newReporter(o.Progress)
	if IsHello(name) && o.Platform == "" {
		return s.pullEmbedded(ctx, ns, ref.WithDefaultTag(), rep)
	}
	if !o.AllTags {
		return s.pullOne(ctx, ns, ref.WithDefaultTag(), o, rep)
	}
	if ref.Tag != "" || ref.Digest != "" {
		return Image{}, errdefs.InvalidArgument("tag can't be used with --all-tags/-a")
	}
	tags, err := s.repository(ref, o.Auth).Tags(ctx)
	if err != nil {
		return Image{}, pullError(ref, err)
	}
	if len(tags) == 0 {
		return Image{}, errdefs.NotFound("repository %s not found: it has no tags", ref.FamiliarName())
	}
	var img Image
	for _, tag := range tags {
		if !validTag(tag) {
			continue
		}
		ref.Tag = tag
		if img, err = s.pullOne(ctx, ns, ref, o, rep); err != nil {
			return Image{}, err
		}
	}
	return img, nil
}

// pull is one image's way in.
type pull struct {
	*Service
	ref      Reference
	repo     *registry.Repository
	platform ocispec.Platform
	explicit bool // the user asked for this platform
	docs     *fetched
	hold     *hold
	rep      *reporter
}

func (s *Service) pullOne(ctx context.Context, ns string, ref Reference, o PullOptions, rep *reporter) (img Image, err error) {
	err = s.holdingFor(ctx, ns, "pull "+ref.recordName(), func(h *hold) error {
		img, err = s.pullHeld(ctx, ns, h, ref, o, rep)
		return err
	})
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		s.dropUnfinished(ctx) // room is worth more than the time to fetch it again
		s.collect(ctx)
	}
	return img, err
}

func (s *Service) pullHeld(ctx context.Context, ns string, h *hold, ref Reference, o PullOptions, rep *reporter) (Image, error) {
	platform, err := ParsePlatform(o.Platform)
	if err != nil {
		return Image{}, err
	}
	repo := s.repository(ref, o.Auth)
	p := &pull{
		Service: s, ref: ref, repo: repo, platform: platform, explicit: o.Platform != "", hold: h, rep: rep,
		docs: &fetched{
			content: s.Content, repo: repo, hold: h, fresh: map[string][]byte{},
			flights: &s.flights, held: map[string]func(){},
		},
	}
	defer p.docs.land("")
	rep.status(ref.remote(), "Pulling from "+ref.Path)
	target, err := p.resolve(ctx, ns)
	if err != nil {
		return Image{}, pullError(ref, err)
	}
	if err := p.bring(ctx, target); err != nil {
		return Image{}, pullError(ref, err)
	}
	old, oldErr := s.record(ctx, ns, ref.recordName())
	made, err := s.point(ctx, ns, []string{ref.recordName()}, target)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", ref.Familiar(), err)
	}
	rep.status("", "Digest: "+target.Digest.String())
	if oldErr == nil && old.Target.Digest == target.Digest {
		rep.status("", "Status: Image is up to date for "+ref.Familiar())
	} else {
		rep.status("", "Status: Downloaded newer image for "+ref.Familiar())
	}
	s.Notify(ctx, ns, "pull", ref.Familiar(), ref.Familiar())
	logging.From(ctx).Info("pulled", "image", ref.Familiar(), "digest", target.Digest.String())
	return made[0], nil
}

// resolve finds out what the reference means now. A tag whose digest the registry tells by HEAD, and whose manifest
// is here, costs nothing more.
func (p *pull) resolve(ctx context.Context, ns string) (ocispec.Descriptor, error) {
	if p.ref.Digest != "" {
		if err := p.hold.blobs(ctx, p.ref.Digest); err != nil {
			return ocispec.Descriptor{}, err
		}
		if data, err := p.Content.ReadAll(ctx, p.ref.Digest, registry.MaxManifest); err == nil {
			mt, err := registry.DocumentType(data, "")
			return ocispec.Descriptor{MediaType: mt, Digest: p.ref.Digest, Size: int64(len(data))}, err
		}
	} else if old, err := p.record(ctx, ns, p.ref.recordName()); err == nil {
		head, err := p.repo.Head(ctx, p.ref.remote())
		if err != nil {
			return head, err
		}
		if head.Digest == old.Target.Digest {
			return old.Target, nil
		}
	}
	desc, data, err := p.repo.Manifest(ctx, p.ref.remote())
	if err == nil {
		p.docs.fresh[desc.Digest.String()] = data
	}
	return desc, err
}

// bring puts everything that target needs into the content store and the snapshotter, durably.
func (p *pull) bring(ctx context.Context, target ocispec.Descriptor) error {
	doc, passed, err := readDocument(ctx, p.docs, target, p.platform)
	if err != nil {
		return err
	}
	if err := p.checkPlatform(doc); err != nil {
		return err
	}
	if err := p.admit(ctx, fromRegistry(p.ref, target, passed), p.signatures(p.repo)); err != nil {
		return err
	}
	digests := []digest.Digest{doc.config.Digest}
	for _, d := range append(passed, doc.layers...) {
		digests = append(digests, d.Digest)
	}
	if err := p.hold.blobs(ctx, digests...); err != nil {
		return err
	}
	if err := p.hold.snapshots(ctx, doc.chains...); err != nil {
		return err
	}
	if err := p.storeDocuments(ctx, doc, passed); err != nil {
		return err
	}
	if err := p.layers(ctx, doc); err != nil {
		return err
	}
	return p.Content.Sync(ctx, digests...)
}

func (p *pull) checkPlatform(doc *document) error {
	have := doc.image.Platform
	if !p.explicit || have.OS == "" || platformScore(p.platform, have) > 0 {
		return nil
	}
	return errdefs.NotFound("image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
		p.ref.Familiar(), platformString(have), platformString(p.platform))
}

// storeDocuments writes config, manifest and indexes, in this order: each one's labels refer to what is there or leased.
func (p *pull) storeDocuments(ctx context.Context, doc *document, passed []ocispec.Descriptor) error {
	if err := p.docs.store(ctx, doc.config, p.configLabels(doc)); err != nil {
		return err
	}
	source := map[string]string{labelSource + p.ref.Domain: p.ref.Path}
	for i := len(passed) - 1; i >= 0; i-- {
		labels := manifestLabels(doc)
		if i < len(passed)-1 {
			if err := p.link(ctx, passed[i].Digest, passed[i+1].Digest); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			data, fresh := p.docs.fresh[passed[i].Digest.String()]
			if !fresh {
				continue // it was stored before, with its labels
			}
			entries, err := indexEntries(passed[i], data)
			if err != nil {
				return err
			}
			labels = indexLabels(entries, nil)
		}
		for k, v := range source {
			labels[k] = v
		}
		if err := p.docs.store(ctx, passed[i], labels); err != nil {
			return err
		}
	}
	return nil
}

// layers fetches the blobs that are missing, several at a time, and meanwhile unpacks them as they come in.
func (p *pull) layers(ctx context.Context, doc *document) error {
	first, err := p.missingFrom(ctx, doc)
	if err != nil {
		return err
	}
	downloads, order := p.plan(ctx, doc, first)
	// One group, so that the first error is the cause and not another goroutine's cancellation by it.
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.Downloads + 1)
	group.Go(func() error {
		return p.unpackFrom(ctx, p.hold, first, unpacking{
			doc: doc, rep: p.rep,
			open: func(ctx context.Context, i int) (io.ReadCloser, error) {
				return p.source(ctx, downloads, doc.layers[i])
			},
			done: func(i int) { p.rep.status(shortDigest(doc.layers[i].Digest), "Pull complete") },
		})
	})
	for _, d := range order {
		group.Go(func() error { return d.run(ctx, p.repo, p.rep) })
	}
	return group.Wait()
}

// plan lists the blobs to fetch, each digest once, in the order of the layers.
func (p *pull) plan(ctx context.Context, doc *document, first int) (map[digest.Digest]*download, []*download) {
	byDigest, order := map[digest.Digest]*download{}, []*download(nil)
	label := map[string]string{labelSource + p.ref.Domain: p.ref.Path}
	for i, l := range doc.layers {
		if byDigest[l.Digest] != nil {
			continue
		}
		id := shortDigest(l.Digest)
		if info, err := p.Content.Info(ctx, l.Digest); err == nil && (l.Size == 0 || info.Size == l.Size) {
			if i < first {
				p.rep.status(id, "Already exists")
			} else {
				p.rep.status(id, "Pulling fs layer")
				p.rep.status(id, "Download complete")
			}
			continue
		}
		d := newDownload(p.Content, l, label)
		byDigest[l.Digest] = d
		order = append(order, d)
		p.rep.status(id, "Pulling fs layer")
	}
	return byDigest, order
}

// source opens a layer for unpacking: behind its download, or from the store.
func (p *pull) source(ctx context.Context, downloads map[digest.Digest]*download, l ocispec.Descriptor) (io.ReadCloser, error) {
	if d := downloads[l.Digest]; d != nil {
		return d.follow(ctx), nil
	}
	return p.Content.Reader(ctx, l.Digest)
}
