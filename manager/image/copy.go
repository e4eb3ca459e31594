package image

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/registry"
)

// CopyOptions of one copy.
type CopyOptions struct {
	docker.Copy
	SourceAuth, TargetAuth Auth
	Archive                io.Reader        // of a source that is one
	Out                    func() io.Writer // of a target that is one; called when nothing but the streaming can fail any more
	Progress               func(Progress)
}

// copySource is where an image comes from.
type copySource interface {
	source
	// root is what the name means.
	root(ctx context.Context) (ocispec.Descriptor, error)
	// admit tells why the policy keeps the image out; passed begins with the root and ends with what is copied.
	admit(ctx context.Context, passed []ocispec.Descriptor) error
	// blob opens a blob; who reads it checks its digest.
	blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
	// companions are the manifests that refer to d, and those whose tag says so.
	companions(ctx context.Context, d digest.Digest) ([]companion, error)
}

// copyTarget is where an image goes to. Blobs come before the manifests that name them, manifests before their indexes.
type copyTarget interface {
	// hasManifest tells that a manifest is there, with all that it names.
	hasManifest(ctx context.Context, d digest.Digest) bool
	// putBlob brings a blob unless it is there, and says what it did.
	putBlob(ctx context.Context, desc ocispec.Descriptor, open func() (io.ReadCloser, error)) (done string, err error)
	// putManifest brings a manifest or index; under a tag unless that is "".
	putManifest(ctx context.Context, m copied) error
	// parallel is how many blobs may be under way at once.
	parallel() int
	// finish ends the copy of root.
	finish(ctx context.Context, root copied) error
}

// companion is a manifest that belongs to another one: a signature, an attestation, a list of contents.
type companion struct {
	desc ocispec.Descriptor
	tag  string        // "sha256-….sig" and its like; "" when it says by its subject what it belongs to
	to   digest.Digest // what it belongs to
}

// copied is a manifest or index on its way.
type copied struct {
	desc      ocispec.Descriptor
	data      []byte
	tag       string
	subject   digest.Digest // of a companion without a tag
	companion bool
	there     bool // the target has it, and all that it names
}

const (
	maxCopied          = 10_000 // manifests of one copy
	maxCompanionsDepth = 3      // of what refers to what refers to an image
)

// Copy brings an image from one place to another as it is: all platforms, each byte the same, nothing unpacked on the
// way and nothing sent that is there already. It returns the digest of what was copied.
func (s *Service) Copy(ctx context.Context, ns string, o CopyOptions) (digest.Digest, error) {
	c := &copier{Service: s, ns: ns, o: o, rep: newReporter(o.Progress), seen: map[string]bool{}}
	var root copied
	err := s.holding(ctx, ns, func(h *hold) error {
		c.hold = h
		if err := c.open(ctx); err != nil {
			return err
		}
		var err error
		root, err = c.run(ctx)
		return err
	})
	if o.Archive != nil && err == nil {
		s.collect(ctx) // what of the archive was read and not taken
	}
	if err != nil {
		return "", err
	}
	logging.From(ctx).Info("copied", "image", root.desc.Digest.String(), "from", o.Source.Kind+" "+o.Source.Name, "to", o.Target.Kind+" "+o.Target.Name)
	return root.desc.Digest, nil
}

// copier is one run of Copy.
type copier struct {
	*Service
	ns   string
	o    CopyOptions
	hold *hold
	rep  *reporter
	src  copySource
	dst  copyTarget

	seen      map[string]bool
	manifests []copied // in the order of their way
	blobs     []ocispec.Descriptor
}

// open makes source and target.
func (c *copier) open(ctx context.Context) (err error) {
	if c.o.AllReferrers && c.o.Target.Kind == docker.CopyStore {
		return errdefs.InvalidArgument("the engine's store keeps images, not what refers to them: leave --all-referrers out, or copy to a registry or a layout")
	}
	if c.o.AllReferrers && c.o.Target.Kind == docker.CopyDockerArchive {
		return errdefs.InvalidArgument("a docker archive keeps images, not what refers to them: leave --all-referrers out, or copy to an OCI archive")
	}
	if c.src, err = c.openSource(ctx); err != nil {
		return err
	}
	c.dst, err = c.openTarget()
	return err
}

// run plans and does the work.
func (c *copier) run(ctx context.Context) (copied, error) {
	root, err := c.plan(ctx)
	if err != nil {
		return root, c.sourceError(err)
	}
	if err := c.sendBlobs(ctx); err != nil {
		return root, err
	}
	for _, m := range c.manifests {
		if err := c.dst.putManifest(ctx, m); err != nil {
			return root, c.targetError(fmt.Errorf("manifest %s: %w", m.desc.Digest, err))
		}
	}
	if err := c.dst.finish(ctx, root); err != nil {
		return root, c.targetError(err)
	}
	c.rep.status("", "Digest: "+root.desc.Digest.String())
	return root, nil
}

// plan finds all manifests and blobs of the copy.
func (c *copier) plan(ctx context.Context) (copied, error) {
	desc, err := c.src.root(ctx)
	if err != nil {
		return copied{}, err
	}
	passed := []ocispec.Descriptor{desc}
	if c.o.Platform != "" || c.o.Target.Kind == docker.CopyDockerArchive {
		if desc, passed, err = c.onePlatform(ctx, desc); err != nil {
			return copied{}, err
		}
	}
	if err := c.src.admit(ctx, passed); err != nil {
		return copied{}, err
	}
	name, err := c.targetTag(desc)
	if err != nil {
		return copied{}, err
	}
	root, err := c.manifest(ctx, desc, 0)
	if err != nil {
		return root, err
	}
	root.tag = name
	c.manifests[len(c.manifests)-1].tag = name
	if c.o.AllReferrers {
		own := len(c.manifests) - 1 // the root is the last of the image, and of the copy
		last := c.manifests[own]
		images := c.manifests[:own:own]
		c.manifests = append([]copied(nil), images...)
		for _, m := range append(images, last) {
			if err := c.referrers(ctx, m.desc.Digest, 0); err != nil {
				return root, err
			}
		}
		c.manifests = append(c.manifests, last)
	}
	return root, nil
}

// onePlatform is the manifest for the platform that is asked for, and what was passed on the way to it.
func (c *copier) onePlatform(ctx context.Context, desc ocispec.Descriptor) (ocispec.Descriptor, []ocispec.Descriptor, error) {
	want, err := ParsePlatform(c.o.Platform)
	if err != nil {
		return desc, nil, err
	}
	doc, passed, err := readDocument(ctx, c.src, desc, want)
	if err != nil {
		return desc, nil, err
	}
	if c.o.Platform != "" && platformScore(want, doc.image.Platform) == 0 {
		return desc, nil, errPlatform(c.o.Source.Name, platformString(want))
	}
	return doc.manifest, passed, nil
}

// manifest plans a manifest, or an index and all that is in it.
func (c *copier) manifest(ctx context.Context, desc ocispec.Descriptor, depth int) (copied, error) {
	m := copied{desc: desc}
	data, err := c.src.document(ctx, desc, registry.MaxManifest)
	if err != nil {
		return m, err
	}
	mt, err := registry.DocumentType(data, desc.MediaType)
	if err != nil {
		return m, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	m.desc, m.data = descriptorOf(desc.Digest, mt, data), data
	if c.seen[desc.Digest.String()] {
		return m, nil
	}
	c.seen[desc.Digest.String()] = true
	if len(c.seen) > maxCopied {
		return m, errdefs.ResourceExhausted("more than %d manifests and blobs in one copy", maxCopied)
	}
	if registry.IsIndex(mt) {
		err = c.index(ctx, m, depth)
	} else {
		m.there = c.dst.hasManifest(ctx, desc.Digest)
		err = c.content(m)
	}
	if err != nil {
		return m, err
	}
	c.manifests = append(c.manifests, m)
	return m, nil
}

func (c *copier) index(ctx context.Context, m copied, depth int) error {
	if depth == maxDepth {
		return errdefs.InvalidArgument("index %s: indexes in indexes more than %d deep", m.desc.Digest, maxDepth)
	}
	entries, err := indexEntries(m.desc, m.data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := c.manifest(ctx, e, depth+1); err != nil {
			if errdefs.IsNotFound(err) && c.o.Source.Kind == docker.CopyStore {
				return errdefs.FailedPrecondition("image %s: not all of its platforms are here: choose one (--platform %s), or pull the others", c.o.Source.Name, platformString(hostPlatform()))
			}
			return err
		}
	}
	return nil
}

// content plans the blobs of a manifest.
func (c *copier) content(m copied) error {
	parsed, err := parseManifest(m.data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", m.desc.Digest, err)
	}
	for _, b := range append([]ocispec.Descriptor{parsed.Config}, parsed.Layers...) {
		if isForeign(b.MediaType) {
			return errdefs.InvalidArgument("manifest %s: layer %s is on other hosts than the registry's (%s), which is not followed", m.desc.Digest, b.Digest, b.MediaType)
		}
		if m.there || c.seen[b.Digest.String()] {
			continue
		}
		c.seen[b.Digest.String()] = true
		c.blobs = append(c.blobs, b)
	}
	return nil
}

// isForeign knows the types of layers that a registry does not hold itself.
func isForeign(mediaType string) bool {
	return strings.Contains(mediaType, ".foreign.") || strings.Contains(mediaType, ".nondistributable.")
}

// referrers plans what belongs to a manifest.
func (c *copier) referrers(ctx context.Context, d digest.Digest, depth int) error {
	if depth == maxCompanionsDepth {
		return nil
	}
	list, err := c.src.companions(ctx, d)
	if err != nil {
		return err
	}
	for _, one := range list {
		if err := checkDescriptor(one.desc); err != nil {
			return fmt.Errorf("what refers to %s: %w", d, err)
		}
		if c.seen[one.desc.Digest.String()] {
			continue
		}
		first := len(c.manifests)
		if _, err := c.manifest(ctx, one.desc, 0); err != nil {
			return err
		}
		for i := first; i < len(c.manifests); i++ {
			c.manifests[i].companion = true
		}
		last := &c.manifests[len(c.manifests)-1]
		if last.tag = one.tag; one.tag == "" {
			last.subject = one.to
		}
		if err := c.referrers(ctx, one.desc.Digest, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// sendBlobs brings the blobs, several at a time where the target can.
func (c *copier) sendBlobs(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.dst.parallel())
	for _, b := range c.blobs {
		group.Go(func() error {
			id := shortDigest(b.Digest)
			done, err := c.dst.putBlob(ctx, b, func() (io.ReadCloser, error) {
				r, err := c.src.blob(ctx, b)
				if err != nil {
					return nil, err
				}
				bar := &barReader{r: newVerifier(ctx, r, b), rep: c.rep, id: id, total: b.Size, word: "Copying"}
				return struct {
					io.Reader
					io.Closer
				}{bar, r}, nil
			})
			if err != nil {
				return c.targetError(fmt.Errorf("blob %s: %w", b.Digest, err))
			}
			c.rep.status(id, done)
			return nil
		})
	}
	return group.Wait()
}

func (c *copier) sourceError(err error) error {
	if c.o.Source.Kind == docker.CopyRegistry {
		if ref, e := ParseReference(c.o.Source.Name); e == nil {
			return pullError(ref.WithDefaultTag(), err)
		}
	}
	return fmt.Errorf("copy: %w", err)
}

func (c *copier) targetError(err error) error {
	if c.o.Target.Kind == docker.CopyRegistry {
		if ref, e := ParseReference(c.o.Target.Name); e == nil {
			return pushError(ref.WithDefaultTag(), err)
		}
	}
	return fmt.Errorf("copy: %w", err)
}
