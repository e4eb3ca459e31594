package image

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/registry"
)

// removePlatforms takes single platforms of an image away, with what attests them, and keeps the others and the names. A
// pull of a platform brings it back. NotFound when a platform is not here; the last one goes only with the image.
func (s *Service) removePlatforms(ctx context.Context, ns, ref string, o RemoveOptions) ([]Removed, error) {
	chosen, err := parsePlatforms(o.Platforms)
	if err != nil {
		return nil, err
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return nil, err
	}
	img, _, err := s.find(ctx, all, ref)
	if err != nil {
		return nil, err
	}
	docs, indexes, err := s.documents(ctx, img.Target)
	if err != nil {
		return nil, err
	}
	if missing := chosen.missing(docs); missing != "" {
		return nil, errPlatform(ref, missing)
	}
	doomed := map[digest.Digest]bool{}
	for _, doc := range docs {
		if chosen.take(doc.image.Platform) {
			doomed[doc.manifest.Digest] = true
		}
	}
	if len(doomed) == len(docs) {
		return nil, errdefs.FailedPrecondition("image %s: no other platform of it is here: leave --platform out to remove all of it", ref)
	}
	id := img.Target.Digest
	if users := o.users(id); len(users) > 0 && (!o.Force || len(o.runners(id)) > 0) {
		return nil, errdefs.Conflict("conflict: unable to delete platforms of %s - image is being used by container %s", shortDigest(id), shortID(users[0]))
	}
	for _, index := range indexes {
		if err := s.unlink(ctx, index.Digest, doomed); err != nil {
			return nil, err
		}
	}
	var removed []Removed
	for _, doc := range docs {
		if d := doc.manifest.Digest; doomed[d] {
			s.cache.forget(d)
			removed = append(removed, Removed{Deleted: d.String()})
			s.Notify(ctx, ns, "delete", d.String(), familiar(img.Name))
		}
	}
	logging.From(ctx).Info("removed platforms", "image", id.String(), "platforms", strings.Join(o.Platforms, ","))
	s.collect(ctx)
	return removed, nil
}

// unlink makes an index keep no more some of its manifests, and what attests them.
func (s *Service) unlink(ctx context.Context, index digest.Digest, doomed map[digest.Digest]bool) error {
	entries, labels, err := s.entriesOf(ctx, index)
	if err != nil {
		return err
	}
	change, gone := map[string]string{}, map[string]bool{}
	for _, e := range entries {
		if doomed[e.Digest] || doomed[digest.Digest(e.Annotations[annotationReferenceDigest])] {
			gone[e.Digest.String()] = true
			change[content.LabelGCDropContent+e.Digest.String()] = "platform"
		}
	}
	for key, value := range labels {
		if strings.HasPrefix(key, content.LabelGCRefContent) && gone[value] {
			change[key] = ""
		}
	}
	_, err = s.Content.Update(ctx, index, change)
	return err
}

// link makes an index that was here before keep one of its manifests again.
func (s *Service) link(ctx context.Context, index, manifest digest.Digest) error {
	entries, labels, err := s.entriesOf(ctx, index)
	if err != nil {
		return err
	}
	change := map[string]string{}
	for _, e := range entries {
		key := content.LabelGCDropContent + e.Digest.String()
		if _, dropped := labels[key]; dropped && (e.Digest == manifest || e.Annotations[annotationReferenceDigest] == manifest.String()) {
			change[key] = ""
		}
	}
	if len(change) == 0 {
		return nil
	}
	_, err = s.Content.Update(ctx, index, change)
	return err
}

// entriesOf reads an index that is here.
func (s *Service) entriesOf(ctx context.Context, index digest.Digest) ([]ocispec.Descriptor, map[string]string, error) {
	info, err := s.Content.Info(ctx, index)
	if err != nil {
		return nil, nil, err
	}
	data, err := s.Content.ReadAll(ctx, index, registry.MaxManifest)
	if err != nil {
		return nil, nil, err
	}
	entries, err := indexEntries(descriptorOf(index, "", data), data)
	return entries, info.Labels, err
}

// keepChosen is for an image that was loaded with some of its archive's platforms only: the others go, unless the image
// was here before, perhaps with them.
func (s *Service) keepChosen(ctx context.Context, ns string, target ocispec.Descriptor, chosen platforms) error {
	if len(chosen) == 0 {
		return nil
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return err
	}
	known := len(sameTarget(all, target.Digest)) > 0
	docs, indexes, err := s.documents(ctx, target)
	if err != nil {
		return err
	}
	doomed := map[digest.Digest]bool{}
	for _, doc := range docs {
		doomed[doc.manifest.Digest] = !known && !chosen.take(doc.image.Platform)
	}
	for _, index := range indexes {
		if err := s.unlink(ctx, index.Digest, doomed); err != nil {
			return err
		}
		for d, gone := range doomed {
			if gone {
				continue
			}
			if err := s.link(ctx, index.Digest, d); err != nil {
				return err
			}
		}
	}
	return nil
}
