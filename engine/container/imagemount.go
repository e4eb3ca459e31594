package container

import (
	"context"
	"fmt"
	"strconv"

	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/snapshot"
)

// ownerLabel names the container that a view of an image belongs to.
const ownerLabel = "conex.container.id"

// makeViews makes a view of each image that the plan mounts: it keeps the image's layers for as long as the container
// is there, whatever becomes of the image's name.
func (s *Service) makeViews(ctx context.Context, p *mountPlan, rec *Record, undo *cleanup.Stack) error {
	for i := range p.mounts {
		m := &p.mounts[i]
		if m.Type != mount.TypeImage {
			continue
		}
		ref := m.Name
		if m.Source != "" {
			ref = m.Source // of volumes-from: the image that the other container has, by its ID
		}
		detail, err := s.cfg.Images.Get(ctx, s.cfg.Namespace, ref)
		if errdefs.IsNotFound(err) { // the docker CLI would take "not found" for the container's own image, and pull it
			return errdefs.InvalidArgument("mount of image %s at %s: %w: pull it first", m.Name, m.Destination, err)
		}
		if err != nil {
			return err
		}
		m.Source, m.View = detail.ID.String(), rec.ID+"-image-"+strconv.Itoa(i)
		opts := []snapshot.Option{snapshot.WithLabels(map[string]string{snapshotLabel: s.cfg.Namespace, ownerLabel: rec.ID, rootLabel: rec.ID})}
		if rec.HostConfig.AutoRemove {
			opts = append(opts, snapshot.Volatile())
		}
		err = s.makeView(ctx, m.View, detail, opts)
		if errdefs.IsNotFound(err) { // the image was removed and collected since the look at it
			err = s.makeView(ctx, m.View, detail, opts)
		}
		if err != nil {
			return fmt.Errorf("mount of image %s at %s: %w", m.Name, m.Destination, err)
		}
		undo.Add(func(ctx context.Context) error { return ignoreNotFound(s.cfg.Snapshots.Remove(ctx, m.View)) })
		if _, err := s.imageMount(ctx, *m); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) makeView(ctx context.Context, key string, d image.Detail, opts []snapshot.Option) error {
	chain, err := s.cfg.Images.Unpack(ctx, d)
	if err != nil {
		return err
	}
	_, err = s.cfg.Snapshots.View(ctx, key, chain, opts...)
	return err
}

// imageMount is the mount of an image as the runtime gets it: of its layers themselves, so that nothing is mounted on
// the host.
func (s *Service) imageMount(ctx context.Context, m Mount) (spec.Mount, error) {
	mounts, err := s.cfg.Snapshots.Mounts(ctx, m.View)
	if err == nil && m.Subpath != "" {
		mounts, err = s.cfg.Snapshots.Below(ctx, m.View, m.Subpath)
	}
	if err != nil {
		return spec.Mount{}, fmt.Errorf("mount of image %s at %s: %w", m.Name, m.Destination, err)
	}
	if len(mounts) != 1 {
		return spec.Mount{}, errdefs.NotImplemented("mount of image %s at %s: %d mounts on top of each other", m.Name, m.Destination, len(mounts))
	}
	one := mounts[0]
	return spec.Mount{Type: one.Type, Source: one.Source, Destination: m.Destination, Options: append(one.Options, "ro", "rprivate")}, nil
}

// dropViews removes a container's views of images.
func (s *Service) dropViews(ctx context.Context, rec *Record) error {
	for _, m := range rec.Mounts {
		if m.View == "" {
			continue
		}
		if err := ignoreNotFound(s.cfg.Snapshots.Remove(ctx, m.View)); err != nil {
			return err
		}
	}
	return nil
}
