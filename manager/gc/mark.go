package gc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
)

// marks is the state of one run: what there is, and what of it is needed.
type marks struct {
	blobs     map[digest.Digest]content.Info
	snapshots map[string]snapshot.Info

	neededBlobs     map[digest.Digest]bool
	neededSnapshots map[string]bool
	todo            []digest.Digest // needed blobs whose own references are not followed yet

	fingerprint uint64 // of the image records
}

// roots is what the databases refer to.
type roots struct {
	blobs       []digest.Digest
	snapshots   []string
	fingerprint uint64
}

// mark lists what there is and finds what is needed.
func (c *Collector) mark(ctx context.Context) (*marks, error) {
	m := &marks{
		blobs: map[digest.Digest]content.Info{}, snapshots: map[string]snapshot.Info{},
		neededBlobs: map[digest.Digest]bool{}, neededSnapshots: map[string]bool{},
	}
	if err := c.Snapshots.Walk(ctx, func(i snapshot.Info) error { m.snapshots[i.Key] = i; return nil }); err != nil {
		return nil, err
	}
	if err := c.Content.Walk(ctx, func(i content.Info) error { m.blobs[i.Digest] = i; return nil }); err != nil {
		return nil, err
	}
	// After the lists: what is made from here on is not on them, so that nothing misses it.
	r, err := c.roots(ctx)
	if err != nil {
		return nil, err
	}
	leases, err := c.Leases.All(ctx)
	if err != nil {
		return nil, err
	}
	m.fingerprint = r.fingerprint
	for _, d := range r.blobs {
		m.blob(d)
	}
	for _, key := range r.snapshots {
		m.snapshot(key)
	}
	m.leases(leases)
	for d, i := range m.blobs {
		if _, root := i.Labels[content.LabelGCRoot]; root {
			m.blob(d)
		}
	}
	for key, i := range m.snapshots {
		_, root := i.Labels[content.LabelGCRoot]
		if root || (i.Kind != snapshot.Committed && !c.Snapshots.Inherited(key)) {
			m.snapshot(key)
		}
	}
	return m, m.walk(ctx, c.Content)
}

// roots reads the image and container records of all namespaces.
func (c *Collector) roots(ctx context.Context) (roots, error) {
	var r roots
	h := fnv.New64a()
	err := c.DB.View(ctx, func(tx *metadata.Tx) error {
		return errors.Join(r.images(tx, h), r.containers(tx))
	})
	if err == nil && c.Volatile != nil {
		err = c.Volatile.View(ctx, r.containers)
	}
	r.fingerprint = h.Sum64()
	return r, err
}

// object is what every image and container record has, of what matters here.
type object struct {
	Labels map[string]string `json:"labels"`
	Target struct {
		Digest digest.Digest `json:"digest"`
	} `json:"target"`
}

func (r *roots) images(tx *metadata.Tx, h hash.Hash64) error {
	return each(tx, metadata.Images, func(ns, key string, raw []byte) error {
		_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s\x00", ns, key, raw)
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			return fmt.Errorf("image %s: %w", key, err)
		}
		r.blobs = append(r.blobs, o.Target.Digest)
		r.labels(o.Labels)
		return nil
	})
}

func (r *roots) containers(tx *metadata.Tx) error {
	return each(tx, metadata.Containers, func(_, key string, raw []byte) error {
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			return fmt.Errorf("container %s: %w", key, err)
		}
		r.snapshots = append(r.snapshots, key) // a container's snapshot has its id as key
		r.labels(o.Labels)
		return nil
	})
}

func (r *roots) labels(labels map[string]string) {
	blobs, snapshots := labelled(labels)
	r.blobs = append(r.blobs, blobs...)
	r.snapshots = append(r.snapshots, snapshots...)
}

func each(tx *metadata.Tx, kind metadata.Kind, fn func(ns, key string, raw []byte) error) error {
	names, err := tx.Namespaces(kind)
	if err != nil {
		return err
	}
	for _, ns := range names {
		err := tx.Each(kind, ns, "", func(key string, raw []byte) error { return fn(ns, key, raw) })
		if err != nil {
			return err
		}
	}
	return nil
}

// labelled returns what a thing's labels refer to.
func labelled(labels map[string]string) (blobs []digest.Digest, snapshots []string) {
	for _, k := range sorted(labels) {
		switch {
		case k == content.LabelGCRefContent, strings.HasPrefix(k, content.LabelGCRefContent+"."), strings.HasPrefix(k, content.LabelGCRefContent+"/"):
			blobs = append(blobs, digest.Digest(labels[k]))
		case strings.HasPrefix(k, content.LabelGCRefSnapshot):
			snapshots = append(snapshots, labels[k])
		}
	}
	return blobs, snapshots
}

// leases marks what the leases hold.
func (m *marks) leases(list []lease.Lease) {
	for _, l := range list {
		for _, r := range l.Resources {
			switch r.Type {
			case lease.Content:
				m.blob(digest.Digest(r.ID))
			case lease.Snapshot:
				m.snapshot(r.ID)
			}
		}
	}
}

func (m *marks) blob(d digest.Digest) {
	if _, there := m.blobs[d]; there && !m.neededBlobs[d] {
		m.neededBlobs[d] = true
		m.todo = append(m.todo, d)
	}
}

// snapshot marks a snapshot and its parents.
func (m *marks) snapshot(key string) {
	for key != "" && !m.neededSnapshots[key] {
		i, there := m.snapshots[key]
		if !there {
			return
		}
		m.neededSnapshots[key] = true
		key = i.Parent
		blobs, snapshots := labelled(i.Labels)
		for _, d := range blobs {
			m.blob(d)
		}
		for _, s := range snapshots {
			m.snapshot(s)
		}
	}
}

// walk follows the references of needed blobs.
func (m *marks) walk(ctx context.Context, blobs Blobs) error {
	for len(m.todo) > 0 {
		if err := ctx.Err(); err != nil {
			return errdefs.With(errdefs.ErrCancelled, err)
		}
		d := m.todo[len(m.todo)-1]
		m.todo = m.todo[:len(m.todo)-1]
		info := m.blobs[d]
		refs, snapshots := labelled(info.Labels)
		if info.Size <= maxDocument {
			doc, err := readDocument(ctx, blobs, d)
			if err != nil && !errdefs.IsNotFound(err) {
				// A broken manifest's image does not run; what its labels say is kept for the pull that repairs it.
				logging.From(ctx).Warn("gc: document cannot be read", "digest", d, "err", err)
			}
			for _, r := range doc.blobs {
				if _, dropped := info.Labels[content.LabelGCDropContent+r.String()]; !dropped {
					refs = append(refs, r)
				}
			}
			snapshots = append(snapshots, doc.chains...)
		}
		for _, r := range refs {
			m.blob(r)
		}
		for _, s := range snapshots {
			m.snapshot(s)
		}
	}
	return nil
}

func (m *marks) garbageBlobs() []digest.Digest {
	var list []digest.Digest
	for d := range m.blobs {
		if !m.neededBlobs[d] {
			list = append(list, d)
		}
	}
	return list
}

// garbageSnapshots returns what is not needed by levels, children before their parents.
func (m *marks) garbageSnapshots() [][]snapshot.Info {
	levels := map[int][]snapshot.Info{}
	deepest := -1
	for key, i := range m.snapshots {
		if m.neededSnapshots[key] {
			continue
		}
		depth := 0
		for p := i.Parent; p != "" && depth < len(m.snapshots); depth++ {
			p = m.snapshots[p].Parent
		}
		levels[depth] = append(levels[depth], i)
		deepest = max(deepest, depth)
	}
	var list [][]snapshot.Info
	for d := deepest; d >= 0; d-- {
		if len(levels[d]) > 0 {
			list = append(list, levels[d])
		}
	}
	return list
}
