package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/metadata"
)

// danglingPrefix begins the records of images whose last name went to another one, as dockerd names them.
const danglingPrefix = "moby-dangling@"

// annotationName is containerd's annotation for a full reference in an index.json.
const annotationName = "io.containerd.image.name"

func danglingName(d digest.Digest) string { return danglingPrefix + d.String() }

func isDangling(name string) bool { return strings.HasPrefix(name, danglingPrefix) }

// records returns the namespace's images in the order of their names.
func (s *Service) records(ctx context.Context, ns string) ([]Image, error) {
	var all []Image
	err := s.DB.View(ctx, func(tx *metadata.Tx) error {
		var err error
		all, err = eachRecord(tx, ns)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	return all, nil
}

func eachRecord(tx *metadata.Tx, ns string) ([]Image, error) {
	var all []Image
	err := tx.Each(metadata.Images, ns, "", func(key string, raw []byte) error {
		var img Image
		if err := json.Unmarshal(raw, &img); err != nil {
			return fmt.Errorf("image %s: %w", key, err)
		}
		all = append(all, img)
		return nil
	})
	return all, err
}

// record returns one image by its record's name. NotFound.
func (s *Service) record(ctx context.Context, ns, name string) (Image, error) {
	var img Image
	err := s.DB.View(ctx, func(tx *metadata.Tx) error { return tx.Get(metadata.Images, ns, name, &img) })
	return img, err
}

// point makes names point at target in one transaction. An image that loses its last name by it stays as a dangling
// one. With no names the target becomes dangling itself.
func (s *Service) point(ctx context.Context, ns string, names []string, target ocispec.Descriptor) ([]Image, error) {
	return s.pointAll(ctx, ns, []loaded{{target: target, names: names}})
}

// pointAll is point for several targets: all or none.
func (s *Service) pointAll(ctx context.Context, ns string, list []loaded) ([]Image, error) {
	var made []Image
	err := s.DB.Update(ctx, func(tx *metadata.Tx) error {
		made = nil
		all, err := eachRecord(tx, ns)
		if err != nil {
			return err
		}
		for _, l := range list {
			var images []Image
			if images, all, err = pointOne(tx, ns, all, l); err != nil {
				return err
			}
			made = append(made, images...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("image record: %w", err)
	}
	s.refreshIndex(ctx)
	return made, nil
}

// pointOne writes the records of one target, and returns them and all that there are then.
func pointOne(tx *metadata.Tx, ns string, all []Image, l loaded) (made, after []Image, err error) {
	target := ocispec.Descriptor{MediaType: l.target.MediaType, Digest: l.target.Digest, Size: l.target.Size}
	now, names := time.Now().UTC(), l.names
	if len(names) == 0 && len(namesOf(all, target.Digest)) == 0 {
		names = []string{danglingName(target.Digest)}
	}
	for _, name := range names {
		img := Image{Header: metadata.Header{CreatedAt: now, UpdatedAt: now}, Name: name, Target: target}
		if err := displace(tx, ns, all, &img); err != nil {
			return nil, nil, err
		}
		if err := tx.Put(metadata.Images, ns, name, img); err != nil {
			return nil, nil, err
		}
		all = replaceRecord(all, img)
		made = append(made, img)
	}
	if own := danglingName(target.Digest); len(made) > 0 && made[0].Name != own && tx.Has(metadata.Images, ns, own) {
		return made, slices.DeleteFunc(all, func(i Image) bool { return i.Name == own }), tx.Delete(metadata.Images, ns, own)
	}
	return made, all, nil
}

// displace keeps what the name pointed at before as a dangling image, when nothing else names it.
func displace(tx *metadata.Tx, ns string, all []Image, img *Image) error {
	for _, old := range all {
		if old.Name != img.Name {
			continue
		}
		img.CreatedAt = old.CreatedAt
		if old.Target.Digest == img.Target.Digest || len(namesOf(all, old.Target.Digest)) > 1 {
			return nil
		}
		old.Name = danglingName(old.Target.Digest)
		return tx.Put(metadata.Images, ns, old.Name, old)
	}
	return nil
}

func namesOf(all []Image, target digest.Digest) []string {
	var names []string
	for _, img := range all {
		if img.Target.Digest == target {
			names = append(names, img.Name)
		}
	}
	return names
}

func replaceRecord(all []Image, img Image) []Image {
	for i := range all {
		if all[i].Name == img.Name {
			all[i] = img
			return all
		}
	}
	return append(all, img)
}

// drop deletes records in one transaction; missing ones are fine.
func (s *Service) drop(ctx context.Context, ns string, names []string) error {
	err := s.DB.Update(ctx, func(tx *metadata.Tx) error {
		for _, name := range names {
			if err := tx.Delete(metadata.Images, ns, name); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("image record: %w", err)
	}
	s.refreshIndex(ctx)
	return nil
}

// refreshIndex makes the layout's index.json say what the records say. Nothing of ours reads it, so that a failure is
// only told.
func (s *Service) refreshIndex(ctx context.Context) {
	s.index.Lock()
	defer s.index.Unlock()
	ctx = context.WithoutCancel(ctx)
	var list []ocispec.Descriptor
	err := s.DB.View(ctx, func(tx *metadata.Tx) error {
		list = nil
		spaces, err := tx.Namespaces(metadata.Images)
		if err != nil {
			return err
		}
		for _, ns := range spaces {
			all, err := eachRecord(tx, ns)
			if err != nil {
				return err
			}
			for _, img := range all {
				d := img.Target
				d.Annotations = map[string]string{ocispec.AnnotationRefName: img.Name}
				list = append(list, d)
			}
		}
		return nil
	})
	if err == nil {
		err = s.Content.SetIndex(list)
	}
	if err != nil {
		logging.From(ctx).Warn("index.json is not up to date", "op", "image index", "err", err)
	}
}
