package lease

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/metadata"
)

// A lease with LabelResume is that of work which can be taken up again: a pull that was interrupted has brought whole
// blobs that the next try of it need not bring once more. When such a lease does not end well it is set aside: its blobs
// stay for AsideFor, or until the work is done, or somebody wants the room.
//
//	work ── Create(LabelResume: name) ──▶ done ─── Delete, DropAside(name)
//	                                  ├─▶ broken ─ SetAside
//	                                  └─▶ killed ─ EndAll at the next start: set aside
const (
	// LabelResume is the label whose value names the work.
	LabelResume = "conex.resume"
	// AsideFor is how long blobs of interrupted work are kept, as content.IngestAge is for blobs that are not whole.
	AsideFor = 24 * time.Hour

	asidePrefix = "aside " // of the ids of what is set aside
)

// SetAside ends a lease and keeps its blobs under the name of its work, together with those that an earlier try left.
// Snapshots are not kept: they are made again of the blobs. NotFound when there is no such lease.
func (m *Manager) SetAside(ctx context.Context, ns, id string) error {
	return m.db.Update(ctx, func(tx *metadata.Tx) error {
		var l Lease
		if err := tx.Get(metadata.Leases, ns, id, &l); err != nil {
			return err
		}
		l.Namespace = ns
		return setAside(tx, l)
	})
}

func setAside(tx *metadata.Tx, l Lease) error {
	if err := tx.Delete(metadata.Leases, l.Namespace, l.ID); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	name := l.Labels[LabelResume]
	if name == "" {
		return nil
	}
	kept := Lease{ID: asidePrefix + name}
	if err := tx.Get(metadata.Leases, l.Namespace, kept.ID, &kept); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	now := time.Now().UTC()
	if kept.CreatedAt.IsZero() {
		kept.CreatedAt = now
	}
	kept.UpdatedAt, kept.ExpiresAt = now, now.Add(AsideFor)
	for _, r := range l.Resources {
		if r.Type == Content && !slices.Contains(kept.Resources, r) {
			kept.Resources = append(kept.Resources, r)
		}
	}
	if len(kept.Resources) == 0 {
		return nil
	}
	return tx.Put(metadata.Leases, l.Namespace, kept.ID, kept)
}

// DropAside gives up what a namespace's work of that name has left.
func (m *Manager) DropAside(ctx context.Context, ns, name string) error {
	there := false
	err := m.db.View(ctx, func(tx *metadata.Tx) error {
		there = tx.Has(metadata.Leases, ns, asidePrefix+name)
		return nil
	})
	if err != nil || !there {
		return err
	}
	err = m.Delete(ctx, ns, asidePrefix+name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// DropAllAside gives up what all interrupted work has left.
func (m *Manager) DropAllAside(ctx context.Context) error {
	leases, err := m.All(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if !l.aside() {
			continue
		}
		if e := m.Delete(ctx, l.Namespace, l.ID); e != nil && !errdefs.IsNotFound(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (l Lease) aside() bool {
	return len(l.ID) > len(asidePrefix) && l.ID[:len(asidePrefix)] == asidePrefix
}

// EndAll is for the daemon's start: the leases that are there were made by processes that are gone. What they had
// brought of work that can be taken up again is set aside.
func (m *Manager) EndAll(ctx context.Context) error {
	leases, err := m.All(ctx)
	if err != nil || len(leases) == 0 {
		return err
	}
	return m.db.Update(ctx, func(tx *metadata.Tx) error {
		for _, l := range leases {
			if l.aside() {
				continue
			}
			if err := setAside(tx, l); err != nil {
				return err
			}
		}
		return nil
	})
}
