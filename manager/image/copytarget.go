package image

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/registry"
)

func (c *copier) openTarget() (copyTarget, error) {
	switch c.o.Target.Kind {
	case docker.CopyRegistry:
		ref, err := ParseReference(c.o.Target.Name)
		if err != nil {
			return nil, err
		}
		t := &registryTarget{repo: c.repository(ref, c.o.TargetAuth), uploads: c.Uploads}
		if src, ok := c.src.(*registrySource); ok && src.ref.Domain == ref.Domain {
			t.from = []string{src.ref.Path}
		}
		return t, nil
	case docker.CopyStore:
		ref, err := ParseReference(c.o.Target.Name)
		if err != nil {
			return nil, err
		}
		if ref.Digest != "" {
			return nil, errdefs.InvalidArgument("conex:%s: an image gets a tag, not a digest", c.o.Target.Name)
		}
		return &storeTarget{copier: c, name: ref.WithDefaultTag()}, nil
	case docker.CopyLayout, docker.CopyDockerArchive:
		return c.newArchiveTarget()
	}
	return nil, errdefs.InvalidArgument("copy: unknown kind of target %q", c.o.Target.Kind)
}

// targetTag is the tag that the root gets at its target, "" where it is not a tag that names it.
func (c *copier) targetTag(desc ocispec.Descriptor) (string, error) {
	switch c.o.Target.Kind {
	case docker.CopyRegistry:
		ref, err := ParseReference(c.o.Target.Name)
		if err != nil {
			return "", err
		}
		if ref.Digest == "" {
			return ref.WithDefaultTag().Tag, nil
		}
		if ref.Digest != desc.Digest {
			return "", errdefs.InvalidArgument("the target %s names a digest, but the image has %s", c.o.Target.Name, desc.Digest)
		}
		return ref.Tag, nil
	case docker.CopyLayout:
		return c.o.Target.Name, nil
	}
	return "", nil
}

// registryTarget is a repository of a registry.
type registryTarget struct {
	repo    *registry.Repository
	from    []string // repositories of the same registry that have the blobs
	uploads int
}

func (t *registryTarget) parallel() int { return t.uploads }

func (t *registryTarget) hasManifest(ctx context.Context, d digest.Digest) bool {
	head, err := t.repo.Head(ctx, d.String())
	return err == nil && head.Digest == d
}

func (t *registryTarget) putBlob(ctx context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) (string, error) {
	there, err := t.repo.HasBlob(ctx, desc.Digest)
	if err != nil {
		return "", err
	}
	if there {
		return "Already exists", nil
	}
	mounted, err := t.repo.PutBlob(ctx, desc, t.from, open)
	if mounted != "" {
		return "Mounted from " + mounted, err
	}
	return "Copied", err
}

func (t *registryTarget) putManifest(ctx context.Context, m copied) error {
	if m.there && m.tag == "" {
		return nil
	}
	name := m.tag
	if name == "" {
		name = m.desc.Digest.String()
	}
	return t.repo.PutManifest(ctx, name, m.desc.MediaType, m.data)
}

func (t *registryTarget) finish(context.Context, copied) error { return nil }

// storeTarget is the engine's own store. The image is unpacked for this machine's platform at the end, as by a load.
type storeTarget struct {
	*copier
	name Reference
}

func (t *storeTarget) parallel() int { return t.Downloads }

// hasManifest is never sure: what a manifest names may have gone.
func (t *storeTarget) hasManifest(context.Context, digest.Digest) bool { return false }

func (t *storeTarget) putBlob(ctx context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) (string, error) {
	if err := t.hold.blobs(ctx, desc.Digest); err != nil {
		return "", err
	}
	t.hold.wrote.Store(true)
	w, err := t.Content.Writer(ctx, "copy", desc)
	if errdefs.IsAlreadyExists(err) {
		return "Already exists", nil
	}
	if err != nil {
		return "", err
	}
	if err := fill(w, open); err != nil {
		return "", fmt.Errorf("%w", joinAbort(err, w))
	}
	return "Copied", w.Commit(ctx, nil)
}

// fill writes a blob from its beginning.
func fill(w *content.Writer, open func() (io.ReadCloser, error)) error {
	if w.Offset() > 0 {
		if err := w.Truncate(0); err != nil {
			return err
		}
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	_, err = io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return err
}

func joinAbort(err error, w *content.Writer) error {
	if e := w.Abort(); e != nil {
		return fmt.Errorf("%w (%w)", err, e)
	}
	return err
}

func (t *storeTarget) putManifest(ctx context.Context, m copied) error {
	if err := t.hold.blobs(ctx, m.desc.Digest); err != nil {
		return err
	}
	labels := map[string]string{}
	if registry.IsIndex(m.desc.MediaType) {
		entries, err := indexEntries(m.desc, m.data)
		if err != nil {
			return err
		}
		labels = indexLabels(entries, nil)
	} else {
		parsed, err := parseManifest(m.data)
		if err != nil {
			return err
		}
		labels[content.LabelGCRefContent+".config"] = parsed.Config.Digest.String()
		for i, l := range parsed.Layers {
			labels[content.LabelGCRefContent+".l."+strconv.Itoa(i)] = l.Digest.String()
		}
	}
	if src, ok := t.src.(*registrySource); ok {
		labels[labelSource+src.ref.Domain] = src.ref.Path
	}
	if err := storeAs(ctx, t.Content, m.desc, m.data, labels); err != nil {
		return err
	}
	_, err := t.Content.Update(ctx, m.desc.Digest, labels) // it may have been there without them
	return err
}

func (t *storeTarget) finish(ctx context.Context, root copied) error {
	if err := t.settle(ctx, t.hold, root.desc, nil, t.rep); err != nil {
		return err
	}
	if _, err := t.point(ctx, t.ns, []string{t.name.recordName()}, root.desc); err != nil {
		return err
	}
	t.Notify(ctx, t.ns, "pull", t.name.Familiar(), t.name.Familiar())
	return nil
}
