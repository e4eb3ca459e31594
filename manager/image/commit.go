package image

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/pgzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/layer"
)

// CommitOptions of one commit of a container's changes.
type CommitOptions struct {
	Parent   Detail          // the container's image; the zero Detail for none
	Snapshot string          // key of the container's active snapshot; the container does not write meanwhile
	Config   json.RawMessage // the image config's "config" object; nil: the parent's
	Ref      string          // "" for none
	Author   string
	Message  string
	Command  string // the history's created_by
	// Own names paths that are left out while they are empty: mount points that the engine made. Nil: none.
	Own func(path string) bool
}

// Commit makes an image of what a container changed: one more layer on its image.
func (s *Service) Commit(ctx context.Context, ns string, o CommitOptions) (Image, error) {
	names, err := importNames(o.Ref)
	if err != nil {
		return Image{}, err
	}
	var img Image
	err = s.holding(ctx, ns, func(h *hold) error {
		desc, diff, err := s.packSnapshot(ctx, h, o.Snapshot, o.Own)
		if err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		config, err := o.config(diff)
		if err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		for _, l := range o.Parent.Layers {
			if err := h.blobs(ctx, l.Digest); err != nil {
				return err
			}
		}
		img, err = s.make(ctx, ns, h, config, append(o.Parent.Layers[:len(o.Parent.Layers):len(o.Parent.Layers)], desc), names)
		return err
	})
	return img, err
}

// packSnapshot writes an active snapshot's own files as a gzip layer into the content store.
func (s *Service) packSnapshot(ctx context.Context, h *hold, key string, own func(string) bool) (ocispec.Descriptor, digest.Digest, error) {
	none := ocispec.Descriptor{}
	info, err := s.Snapshots.Stat(ctx, key)
	if err != nil {
		return none, "", err
	}
	mounts, err := s.Snapshots.Mounts(ctx, key)
	if err != nil {
		return none, "", err
	}
	target, err := targetOf(mounts, info.Parent == "")
	if err != nil {
		return none, "", err
	}
	if !target.Overlay && info.Parent != "" {
		return none, "", errdefs.NotImplemented("a commit needs the overlay snapshotter: this data root copies its layers")
	}
	w, err := s.Content.Writer(ctx, "commit "+rand.Text(), none)
	if err != nil {
		return none, "", err
	}
	z := pgzip.NewWriter(w)
	got, err := layer.Create(ctx, layer.Source{Dir: target.Dir, Overlay: target.Overlay, Own: own}, z)
	if err = errors.Join(err, z.Close()); err == nil {
		err = h.blobs(ctx, w.Digest())
	}
	if err != nil {
		return none, "", errors.Join(err, w.Abort())
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: w.Digest(), Size: w.Offset()}
	return desc, got.DiffID, w.Commit(ctx, nil)
}

// config is the parent's with the new layer. Members that OCI does not know (healthcheck, onbuild, shell) stay.
func (o CommitOptions) config(diff digest.Digest) (map[string]json.RawMessage, error) {
	doc := map[string]json.RawMessage{}
	if len(o.Parent.RawConfig) > 0 {
		if err := json.Unmarshal(o.Parent.RawConfig, &doc); err != nil {
			return nil, err
		}
	}
	now := time.Now().UTC()
	parent := o.Parent.Config
	members := map[string]any{
		"created": now,
		"rootfs":  ocispec.RootFS{Type: "layers", DiffIDs: append(parent.RootFS.DiffIDs[:len(parent.RootFS.DiffIDs):len(parent.RootFS.DiffIDs)], diff)},
		"history": append(parent.History[:len(parent.History):len(parent.History)],
			ocispec.History{Created: &now, Author: o.Author, Comment: o.Message, CreatedBy: o.Command}),
		"author": o.Author, "comment": o.Message,
	}
	if len(o.Parent.RawConfig) == 0 {
		host := hostPlatform()
		members["os"], members["architecture"] = host.OS, host.Architecture
	}
	if o.Config != nil {
		members["config"] = o.Config
	}
	for key, value := range members {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		doc[key] = raw
	}
	return doc, nil
}
