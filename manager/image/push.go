package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/registry"
)

// Push uploads an image under its own name (with AllTags every tag of the repository). Blobs go as they are stored,
// those that the registry lacks only.
func (s *Service) Push(ctx context.Context, ns, name string, o PushOptions) error {
	ref, err := ParseReference(name)
	if err != nil {
		return err
	}
	rep := newReporter(o.Progress)
	rep.status("", "The push refers to repository ["+ref.Name()+"]")
	if !o.AllTags {
		return s.pushOne(ctx, ns, ref.WithDefaultTag(), o, rep)
	}
	if ref.Tag != "" || ref.Digest != "" {
		return errdefs.InvalidArgument("tag can't be used with --all-tags/-a")
	}
	all, err := s.records(ctx, ns)
	if err != nil {
		return err
	}
	found := false
	for _, img := range all {
		own, err := ParseReference(img.Name)
		if err != nil || own.Name() != ref.Name() || own.Tag == "" {
			continue
		}
		found = true
		if err := s.pushOne(ctx, ns, own, o, rep); err != nil {
			return err
		}
	}
	if !found {
		return errdefs.NotFound("An image does not exist locally with the tag: %s", ref.FamiliarName())
	}
	return nil
}

func (s *Service) pushOne(ctx context.Context, ns string, ref Reference, o PushOptions, rep *reporter) error {
	img, err := s.record(ctx, ns, ref.recordName())
	if errdefs.IsNotFound(err) {
		return errdefs.NotFound("An image does not exist locally with the tag: %s", ref.FamiliarName())
	}
	if err != nil {
		return err
	}
	if ref.Digest != "" {
		return errdefs.InvalidArgument("cannot push a digest reference: push a tag")
	}
	return s.holding(ctx, ns, func(h *hold) error {
		if err := h.blobs(ctx, img.Target.Digest); err != nil {
			return err
		}
		p := &push{Service: s, ref: ref, repo: s.repository(ref, o.Auth), rep: rep}
		target, err := p.send(ctx, img.Target, o.Platform)
		if err != nil {
			return pushError(ref, err)
		}
		if err := s.noteSource(ctx, target.Digest, ref); err != nil {
			return pushError(ref, err)
		}
		rep.status("", fmt.Sprintf("%s: digest: %s size: %d", ref.Tag, target.Digest, target.Size))
		// A line of its own: the docker CLI shows no status of a line that has an aux.
		rep.say(Progress{Aux: Pushed{Tag: ref.Tag, Digest: target.Digest.String(), Size: int(target.Size)}})
		s.Notify(ctx, ns, "push", ref.Familiar(), ref.Familiar())
		logging.From(ctx).Info("pushed", "image", ref.Familiar(), "digest", target.Digest.String())
		return nil
	})
}

// push is one image's way out.
type push struct {
	*Service
	ref  Reference
	repo *registry.Repository
	rep  *reporter
}

// send uploads blobs, manifests and indexes, in this order, and returns what the tag points at: the image's target,
// or one platform's manifest when of the others not all is here.
func (p *push) send(ctx context.Context, target ocispec.Descriptor, platform string) (ocispec.Descriptor, error) {
	docs, indexes, err := p.documents(ctx, target)
	if err != nil {
		return target, err
	}
	var whole []*document
	for _, doc := range docs {
		if p.checkBlobs(ctx, doc) == nil {
			whole = append(whole, doc)
		}
	}
	if platform != "" || (len(indexes) > 0 && !p.complete(ctx, indexes, len(whole) == len(docs))) {
		want, err := ParsePlatform(platform)
		if err != nil {
			return target, err
		}
		whole = slices.DeleteFunc(whole, func(d *document) bool { return platformScore(want, d.image.Platform) == 0 })
		if len(whole) == 0 {
			return target, errdefs.NotFound("its manifest for %s is not here: pull it first", platformString(want))
		}
		whole, indexes, target = whole[:1], nil, whole[0].manifest
		if platform == "" {
			p.rep.status("", "Not all multiplatform-content is present and only the available single-platform image was pushed")
		}
	}
	if len(whole) == 0 {
		return target, errdefs.NotFound("its layers are not here: pull it again")
	}
	if err := p.blobs(ctx, whole); err != nil {
		return target, err
	}
	return p.manifests(ctx, whole, indexes, target)
}

// complete reports whether everything that the indexes list is here; a registry refuses an index otherwise.
func (p *push) complete(ctx context.Context, indexes []ocispec.Descriptor, docsWhole bool) bool {
	if !docsWhole {
		return false
	}
	for _, index := range indexes {
		data, err := p.Content.ReadAll(ctx, index.Digest, registry.MaxManifest)
		if err != nil {
			return false
		}
		entries, err := indexEntries(index, data)
		if err != nil {
			return false
		}
		for _, e := range entries {
			if _, err := p.Content.Info(ctx, e.Digest); err != nil {
				return false
			}
		}
	}
	return true
}

// blobs uploads layers and configs, several at a time, each once.
func (p *push) blobs(ctx context.Context, docs []*document) error {
	seen := map[string]bool{}
	var layers, configs []ocispec.Descriptor
	for _, doc := range docs {
		for _, l := range doc.layers {
			if !seen[l.Digest.String()] {
				seen[l.Digest.String()] = true
				layers = append(layers, l)
				p.rep.status(shortDigest(l.Digest), "Preparing")
			}
		}
		configs = append(configs, doc.config)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(p.Uploads)
	for _, l := range layers {
		group.Go(func() error { return p.blob(ctx, l, p.rep) })
	}
	for _, c := range configs {
		group.Go(func() error { return p.blob(ctx, c, nil) })
	}
	return group.Wait()
}

func (p *push) blob(ctx context.Context, desc ocispec.Descriptor, rep *reporter) error {
	id := shortDigest(desc.Digest)
	info, err := p.Content.Info(ctx, desc.Digest)
	if err != nil {
		return err
	}
	desc.Size = info.Size
	there, err := p.repo.HasBlob(ctx, desc.Digest)
	if err != nil {
		return err
	}
	if there {
		rep.status(id, "Layer already exists")
		return nil
	}
	label := labelSource + p.ref.Domain
	sources := info.Labels[label]
	mounted, err := p.repo.PutBlob(ctx, desc, mountSources(sources), func() (io.ReadCloser, error) {
		b, err := p.Content.Reader(ctx, desc.Digest)
		if err != nil {
			return nil, err
		}
		return &barReadCloser{barReader{r: b, rep: rep, id: id, total: desc.Size, word: "Pushing"}, b}, nil
	})
	if err != nil {
		return fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	if mounted != "" {
		rep.status(id, "Mounted from "+mounted)
	} else {
		rep.status(id, "Pushed")
	}
	return p.noteSource(ctx, desc.Digest, p.ref)
}

// noteSource writes down that the repository has a blob.
func (s *Service) noteSource(ctx context.Context, blob digest.Digest, ref Reference) error {
	info, err := s.Content.Info(ctx, blob)
	if err != nil {
		return err
	}
	label := labelSource + ref.Domain
	sources := info.Labels[label]
	if slices.Contains(mountSources(sources), ref.Path) {
		return nil
	}
	_, err = s.Content.Update(ctx, blob, map[string]string{label: strings.Trim(sources+","+ref.Path, ",")})
	return err
}

// Sources are the repositories that an image was pulled from or pushed to, in their full form.
func (s *Service) Sources(ctx context.Context, target digest.Digest) []string {
	info, err := s.Content.Info(ctx, target)
	if err != nil {
		return nil
	}
	var out []string
	for key, value := range info.Labels {
		domain, ok := strings.CutPrefix(key, labelSource)
		if !ok {
			continue
		}
		for _, name := range mountSources(value) {
			out = append(out, domain+"/"+name)
		}
	}
	slices.Sort(out)
	return out
}

// mountSources are the repositories of this registry that are known to have a blob.
func mountSources(label string) []string {
	var list []string
	for name := range strings.SplitSeq(label, ",") {
		if ref, err := ParseReference("x.y/" + name); err == nil && ref.Path == name {
			list = append(list, name)
		}
	}
	return list
}

type barReadCloser struct {
	barReader
	io.Closer
}

func (p *push) manifests(ctx context.Context, docs []*document, indexes []ocispec.Descriptor, target ocispec.Descriptor) (ocispec.Descriptor, error) {
	list := []ocispec.Descriptor{}
	for _, doc := range docs {
		list = append(list, doc.manifest)
	}
	slices.Reverse(indexes) // the outermost last
	for _, d := range append(list, indexes...) {
		data, err := p.Content.ReadAll(ctx, d.Digest, registry.MaxManifest)
		if err != nil {
			return target, err
		}
		mt, err := registry.DocumentType(data, d.MediaType)
		if err != nil {
			return target, err
		}
		name := d.Digest.String()
		if d.Digest == target.Digest {
			name, target.Size = p.ref.Tag, int64(len(data))
		}
		if err := p.repo.PutManifest(ctx, name, mt, data); err != nil {
			return target, err
		}
	}
	return target, nil
}

func pushError(ref Reference, err error) error {
	var refused *registry.Error
	if errors.As(err, &refused) && (refused.Code == registry.CodeDenied || refused.Code == registry.CodeUnauthorized) {
		return errdefs.With(errdefs.ErrPermissionDenied,
			fmt.Errorf("push access denied for %s, repository does not exist or may require 'docker login': %w", ref.FamiliarName(), err))
	}
	return fmt.Errorf("push %s: %w", ref.Familiar(), err)
}
