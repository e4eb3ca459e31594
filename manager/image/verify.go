package image

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/layer"
	"github.com/conex-containers/conex/manager/registry"
	"github.com/conex-containers/conex/manager/snapshot/rootfs"
)

// Verify reads everything that is here of an image, of all platforms, and compares it with its digests: indexes,
// manifests, configs and layers byte by byte, and the files of each unpacked layer with its blob. With repair the
// damaged blobs are thrown away, so that the next pull brings them anew, and damaged snapshots that nothing is built on
// are unpacked again; without, nothing is changed. Images that came from a registry are compared with today's policy.
func (s *Service) Verify(ctx context.Context, ns, refOrID string, o VerifyOptions) (docker.ImageVerification, error) {
	all, err := s.records(ctx, ns)
	if err != nil {
		return docker.ImageVerification{}, err
	}
	img, byName, err := s.find(ctx, all, refOrID)
	if err != nil {
		return docker.ImageVerification{}, err
	}
	v := &verification{Service: s, ns: ns, repair: o.Repair, seen: map[string]bool{}}
	v.report = docker.ImageVerification{ID: img.Target.Digest.String(), Damage: []docker.ImageDamage{}}
	err = s.holding(ctx, ns, func(h *hold) error {
		if err := h.blobs(ctx, img.Target.Digest); err != nil {
			return err
		}
		v.hold = h
		if err := v.document(ctx, img.Target.Digest, img.Target.MediaType, 0); err != nil {
			return err
		}
		v.report.Admission, err = s.admissions(ctx, img, byName, o)
		return err
	})
	if err != nil {
		return docker.ImageVerification{}, fmt.Errorf("image %s: verify: %w", refOrID, err)
	}
	return v.report, nil
}

// verification is one run of Verify.
type verification struct {
	*Service
	ns     string
	hold   *hold
	repair bool
	seen   map[string]bool // blobs and chainIDs
	bad    map[digest.Digest]bool
	report docker.ImageVerification
}

// document checks a manifest or index and what it names.
func (v *verification) document(ctx context.Context, d digest.Digest, mediaType string, depth int) error {
	if whole, err := v.blob(ctx, d, depth == 0); err != nil || !whole {
		return err
	}
	data, err := v.Content.ReadAll(ctx, d, registry.MaxManifest)
	if err != nil {
		return err
	}
	mt, err := registry.DocumentType(data, mediaType)
	if err != nil {
		return err
	}
	if registry.IsIndex(mt) {
		entries, err := indexEntries(descriptorOf(d, mt, data), data)
		if err != nil || depth == maxDepth {
			return err
		}
		for _, e := range entries {
			if err := v.document(ctx, e.Digest, e.MediaType, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return v.manifest(ctx, d, mt, data)
}

// manifest checks config, layers and snapshots of one platform, or the blobs of what is no image (an attestation).
func (v *verification) manifest(ctx context.Context, d digest.Digest, mediaType string, data []byte) error {
	m, err := parseManifest(data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", d, err)
	}
	whole, err := v.blob(ctx, m.Config.Digest, true)
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		ok, err := v.blob(ctx, l.Digest, true)
		if err != nil {
			return err
		}
		whole = whole && ok
	}
	if !whole {
		return nil // the snapshots cannot be compared with what is broken itself
	}
	doc, err := readManifest(ctx, stored{v.Content}, descriptorOf(d, mediaType, data), data)
	if err != nil {
		return nil // no image
	}
	before, lowest := len(v.report.Damage), -1
	for i, chain := range doc.chains {
		if v.seen[chain] {
			continue
		}
		v.seen[chain] = true
		problem, err := v.snapshot(ctx, doc, i)
		if err != nil {
			return fmt.Errorf("snapshot %s: %w", chain, err)
		}
		if problem != "" {
			v.report.Damage = append(v.report.Damage, docker.ImageDamage{Kind: "snapshot", ID: chain, Problem: problem})
			if lowest < 0 {
				lowest = i
			}
		}
	}
	if !v.repair || lowest < 0 {
		return nil
	}
	return v.unpackAgain(ctx, doc, lowest, v.report.Damage[before:])
}

// unpackAgain makes the snapshots from layer lowest on anew from their blobs, which are right. What a container or
// another image is built on stays as it is.
func (v *verification) unpackAgain(ctx context.Context, doc *document, lowest int, damage []docker.ImageDamage) error {
	kept := 0 // layers that cannot be taken away
	for i := len(doc.chains) - 1; i >= lowest; i-- {
		err := v.Snapshots.Remove(ctx, doc.chains[i])
		if errdefs.Is(err, errdefs.ErrFailedPrecondition) {
			kept = i + 1
			break
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	for j := range damage {
		if slices.Index(doc.chains, damage[j].ID) >= kept {
			damage[j].Repaired = true
		} else {
			damage[j].Problem += "; something is built on it: remove those containers and images first"
		}
	}
	return v.unpackStored(ctx, v.hold, doc, nil)
}

// blob checks one blob and reports whether it is right. What is not here is damage when it must be.
func (v *verification) blob(ctx context.Context, d digest.Digest, must bool) (bool, error) {
	if v.seen[d.String()] {
		return !v.bad[d], nil
	}
	v.seen[d.String()] = true
	problem := ""
	b, err := v.Content.Reader(ctx, d)
	switch {
	case errdefs.IsNotFound(err) && !must:
		return false, nil // another platform's, not brought along
	case err != nil && ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		problem = err.Error()
	default:
		v.report.Blobs++
		problem, err = v.rehash(ctx, b, d)
		_ = b.Close()
		if err != nil {
			return false, err
		}
	}
	if problem == "" {
		return true, nil
	}
	if v.bad == nil {
		v.bad = map[digest.Digest]bool{}
	}
	v.bad[d] = true
	damage := docker.ImageDamage{Kind: "blob", ID: d.String(), Problem: problem}
	if v.repair {
		if err := v.Content.Delete(ctx, d); err != nil && !errdefs.IsNotFound(err) {
			return false, err
		}
		v.cache.forget(d)
		damage.Repaired = true
	}
	v.report.Damage = append(v.report.Damage, damage)
	return false, nil
}

func (v *verification) rehash(ctx context.Context, b io.Reader, d digest.Digest) (problem string, err error) {
	check := d.Algorithm().Digester()
	n, err := io.CopyBuffer(check.Hash(), struct{ io.Reader }{ctxReader{ctx, b}}, make([]byte, 256<<10))
	v.report.Bytes += n
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "it cannot be read: " + err.Error(), nil
	}
	if got := check.Digest(); got != d {
		return "its content changed on the disk, it is now " + got.String(), nil
	}
	return "", nil
}

// snapshot compares the files of layer i with its blob, through a view in which nothing lies above them.
func (v *verification) snapshot(ctx context.Context, doc *document, i int) (problem string, err error) {
	chain := doc.chains[i]
	if _, err := v.Snapshots.Stat(ctx, chain); errdefs.IsNotFound(err) {
		return "", nil // not unpacked
	} else if err != nil {
		return "", err
	}
	key := "verify-" + rand.Text()
	if err := v.hold.snapshots(ctx, chain, key); err != nil {
		return "", err
	}
	mounts, err := v.Snapshots.View(ctx, key, chain)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "its directory is gone: " + err.Error(), nil
	case errdefs.IsNotFound(err):
		return "", nil // what it is on is lost: that is named, and this is compared when it is there again
	case err != nil:
		return "", err
	}
	defer func() { err = errors.Join(err, v.Snapshots.Remove(context.WithoutCancel(ctx), key)) }()
	v.report.Snapshots++
	root, err := rootfs.Open(mounts)
	if err == nil {
		problem, err = v.compare(ctx, root, doc, i)
		_ = root.Close()
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errdefs.IsNotFound(err), errors.Is(err, fs.ErrNotExist):
		return "its directory is gone: " + err.Error(), nil
	}
	return problem, err
}

// compare names the first files that are not what the layer says, "" when all are.
func (v *verification) compare(ctx context.Context, root *rootfs.Root, doc *document, i int) (string, error) {
	problems := map[string]string{} // by path: a later entry of the same path takes the place of an earlier one
	c := &comparison{root: root, left: make([]byte, 128<<10), right: make([]byte, 128<<10)}
	err := v.readLayer(ctx, doc.layers[i].Digest, doc.image.RootFS.DiffIDs[i], func(e layer.Entry, body io.Reader) error {
		delete(problems, e.Path)
		problem, err := c.entry(e, body)
		if problem != "" && len(problems) < maxProblems {
			problems[e.Path] = problem
		}
		return err
	})
	v.report.Bytes += c.read
	if err != nil || len(problems) == 0 {
		return "", err
	}
	first := ""
	for p := range problems {
		if first == "" || p < first {
			first = p
		}
	}
	text := "/" + first + ": " + problems[first]
	if n := len(problems) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text, nil
}

// maxProblems bounds what one damaged snapshot makes us remember.
const maxProblems = 10_000

// comparison compares entries of a layer with files.
type comparison struct {
	root        *rootfs.Root
	left, right []byte
	read        int64
}

func (c *comparison) entry(e layer.Entry, body io.Reader) (string, error) {
	if e.Whiteout || e.Opaque {
		return "", nil
	}
	st, err := c.root.Lstat(e.Path)
	if errdefs.IsNotFound(err) {
		return "it is missing", nil
	}
	if err != nil {
		return err.Error(), nil
	}
	kind, size := kindOf(e.Header)
	want := map[string]fs.FileMode{"directory": fs.ModeDir, "link": fs.ModeSymlink, "device": fs.ModeDevice, "fifo": fs.ModeNamedPipe}[kind]
	mode := st.Mode() &^ fs.ModeCharDevice
	switch {
	case kind == "hardlink":
		return "", nil // compared where its content is
	case mode.Type() != want:
		return fmt.Sprintf("it is a %s, the layer has a %s", kindOfMode(mode), kind), nil
	case kind == "link":
		if target, err := c.root.Readlink(e.Path); err != nil || target != e.Header.Linkname {
			return fmt.Sprintf("it leads to %q, in the layer to %q", target, e.Header.Linkname), nil
		}
	case mode.Perm() != fs.FileMode(e.Header.Mode).Perm()&fs.ModePerm && kind != "directory":
		return fmt.Sprintf("its mode is %o, in the layer %o", mode.Perm(), fs.FileMode(e.Header.Mode).Perm()), nil
	case kind == "file":
		if st.Size() != size {
			return fmt.Sprintf("it has %d bytes, in the layer %d", st.Size(), size), nil
		}
		return c.content(e.Path, body)
	}
	return "", nil
}

func kindOfMode(m fs.FileMode) string {
	switch m.Type() {
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "link"
	case fs.ModeNamedPipe:
		return "fifo"
	case fs.ModeDevice:
		return "device"
	}
	return "file"
}

func (c *comparison) content(p string, body io.Reader) (string, error) {
	f, err := c.root.Open(p)
	if err != nil {
		return err.Error(), nil
	}
	defer func() { _ = f.Close() }()
	for off := int64(0); ; {
		n, err := io.ReadFull(body, c.left)
		if n > 0 {
			if problem := c.same(f, n, off); problem != "" {
				return problem, nil
			}
			off += int64(n)
			c.read += int64(n)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < len(c.left) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
	}
}

func (c *comparison) same(f *os.File, n int, off int64) string {
	if _, err := io.ReadFull(f, c.right[:n]); err != nil {
		return "it cannot be read: " + err.Error()
	}
	if !bytes.Equal(c.left[:n], c.right[:n]) {
		return fmt.Sprintf("its content changed on the disk, between byte %d and %d", off, off+int64(n))
	}
	return ""
}
