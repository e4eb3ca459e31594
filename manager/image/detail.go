package image

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
)

// Get finds an image by familiar or full name, by ID or a unique prefix of it, or by its config's digest.
// ErrNoImage when there is none; InvalidArgument when a prefix fits several.
func (s *Service) Get(ctx context.Context, ns, refOrID string) (Detail, error) {
	all, err := s.records(ctx, ns)
	if err != nil {
		return Detail{}, err
	}
	img, _, err := s.find(ctx, all, refOrID)
	if err != nil {
		return Detail{}, err
	}
	return s.detail(ctx, all, img)
}

// GetFor is Get for one platform of an image, "os/arch[/variant]", of which nothing need be unpacked; "" is Get.
func (s *Service) GetFor(ctx context.Context, ns, refOrID, platform string) (Detail, error) {
	if platform == "" {
		return s.Get(ctx, ns, refOrID)
	}
	want, err := ParsePlatform(platform)
	if err != nil {
		return Detail{}, err
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return Detail{}, err
	}
	img, _, err := s.find(ctx, all, refOrID)
	if err != nil {
		return Detail{}, err
	}
	doc, err := s.open(ctx, img.Target, want)
	if errdefs.IsNotFound(err) || err == nil && platformScore(want, doc.image.Platform) == 0 {
		return Detail{}, errPlatform(refOrID, platformString(want))
	}
	if err != nil {
		return Detail{}, fmt.Errorf("image %s: %w", img.Name, err)
	}
	return s.describe(ctx, all, img, doc), nil
}

// find looks an image up among all records. byName says that refOrID names the record, not the image's ID.
func (s *Service) find(ctx context.Context, all []Image, refOrID string) (_ Image, byName bool, err error) {
	ref, err := ParseReference(refOrID)
	if err == nil {
		if img, ok := byReference(all, ref.WithDefaultTag()); ok {
			return img, true, nil
		}
	}
	img, ierr := s.byID(ctx, all, refOrID)
	if ierr == nil || !errdefs.IsNotFound(ierr) {
		return img, false, ierr
	}
	if err != nil && !isHexID(refOrID) && !strings.HasPrefix(refOrID, "sha256:") {
		return Image{}, false, err
	}
	shown := refOrID
	if err == nil {
		shown = ref.WithDefaultTag().Familiar()
	}
	return Image{}, false, ErrNoImage(shown)
}

// byReference matches a record's name; name@digest also any record of that repository with that target.
func byReference(all []Image, ref Reference) (Image, bool) {
	name := ref.recordName()
	for _, img := range all {
		if img.Name == name {
			return img, true
		}
	}
	if ref.Digest == "" {
		return Image{}, false
	}
	for _, img := range all {
		if img.Target.Digest != ref.Digest {
			continue
		}
		if own, err := ParseReference(img.Name); err == nil && own.Name() == ref.Name() {
			return img, true
		}
	}
	return Image{}, false
}

// byID matches ID prefixes of at least one digit, and whole or shortened config digests.
func (s *Service) byID(ctx context.Context, all []Image, id string) (Image, error) {
	prefix := strings.TrimPrefix(id, "sha256:")
	if !isHex(prefix) || len(prefix) > 64 {
		return Image{}, ErrNoImage(id)
	}
	pick := func(digestOf func(Image) digest.Digest) (Image, error) {
		var found Image
		for _, img := range all {
			d := digestOf(img)
			if d == "" || !strings.HasPrefix(d.Encoded(), prefix) || found.Target.Digest == img.Target.Digest {
				continue
			}
			if found.Name != "" {
				return Image{}, errAmbiguous(id)
			}
			found = img
		}
		if found.Name == "" {
			return Image{}, ErrNoImage(id)
		}
		return found, nil
	}
	img, err := pick(func(i Image) digest.Digest { return i.Target.Digest })
	if err == nil || !errdefs.IsNotFound(err) || len(prefix) < 12 {
		return img, err
	}
	return pick(func(i Image) digest.Digest {
		doc, err := s.open(ctx, i.Target, hostPlatform())
		if err != nil {
			return ""
		}
		return doc.config.Digest
	})
}

// List returns all images of the namespace, one Detail per ID, newest first. An image whose content is broken or for
// another platform only is listed with what is known of it.
func (s *Service) List(ctx context.Context, ns string) ([]Detail, error) {
	all, err := s.records(ctx, ns)
	if err != nil {
		return nil, err
	}
	byTarget := map[digest.Digest][]Image{}
	for _, img := range all {
		byTarget[img.Target.Digest] = append(byTarget[img.Target.Digest], img)
	}
	list := make([]Detail, 0, len(byTarget))
	for _, same := range byTarget {
		d, err := s.detail(ctx, same, same[0])
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			logging.From(ctx).Debug("image is not whole here", "image", same[0].Name, "err", err)
			d = bare(same, same[0])
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Detail) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return list, nil
}

// bare is the Detail that the records alone give.
func bare(all []Image, img Image) Detail {
	d := Detail{ID: img.Target.Digest, Target: img.Target, CreatedAt: img.CreatedAt, Labels: map[string]string{}}
	d.Names, d.Digests = shownNames(all, img.Target.Digest)
	return d
}

// shownNames are the familiar names and repository digests of a target.
func shownNames(all []Image, target digest.Digest) (names, digests []string) {
	seen := map[string]bool{}
	for _, img := range all {
		if img.Target.Digest != target || isDangling(img.Name) {
			continue
		}
		ref, err := ParseReference(img.Name)
		if err != nil {
			continue
		}
		if ref.Digest == "" {
			names = append(names, ref.Familiar())
		}
		if d := ref.FamiliarName() + "@" + target.String(); !seen[d] {
			seen[d] = true
			digests = append(digests, d)
		}
	}
	slices.Sort(names)
	slices.Sort(digests)
	return names, digests
}

func (s *Service) detail(ctx context.Context, all []Image, img Image) (Detail, error) {
	doc, err := s.open(ctx, img.Target, hostPlatform())
	if errdefs.IsNotFound(err) {
		doc, err = s.openAny(ctx, img, err)
	}
	if err != nil {
		return Detail{}, fmt.Errorf("image %s: %w", img.Name, err)
	}
	return s.describe(ctx, all, img, doc), nil
}

// describe tells of an image what its records, and of one platform what its document says.
func (s *Service) describe(ctx context.Context, all []Image, img Image, doc *document) Detail {
	d := bare(all, img)
	d.Manifest, d.ConfigDigest, d.RawConfig = doc.manifest, doc.config.Digest, doc.raw
	d.Config, d.Layers, d.ChainID = doc.image, slices.Clone(doc.layers), doc.chain()
	if doc.image.Created != nil {
		d.CreatedAt = *doc.image.Created
	}
	d.Labels = maps.Clone(doc.image.Config.Labels)
	d.Size = doc.blobs
	for _, chain := range doc.chains {
		if info, err := s.Snapshots.Stat(ctx, chain); err == nil {
			d.Size += info.Size
		}
	}
	return d
}

// openAny opens the one platform of an index that is here, when it is not this machine's.
func (s *Service) openAny(ctx context.Context, img Image, cause error) (*document, error) {
	data, err := s.Content.ReadAll(ctx, img.Target.Digest, 4<<20)
	if err != nil {
		return nil, cause
	}
	entries, err := indexEntries(img.Target, data)
	if err != nil {
		return nil, cause
	}
	for _, e := range entries {
		if e.Platform == nil || e.Platform.OS == "unknown" {
			continue
		}
		if doc, err := s.open(ctx, e, normalize(*e.Platform)); err == nil {
			return doc, nil
		}
	}
	return nil, cause
}
