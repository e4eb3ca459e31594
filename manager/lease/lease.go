// Package lease keeps things from the garbage collector while somebody works with them: a pull holds the blobs and
// layers that it has brought until the image's record refers to them.
//
// The rule for whoever uses what he did not make: first Add it to a lease, then look whether it is there. The
// collector deletes only between two Adds and reads all leases before it does (Hold), so that what is there after
// the Add stays.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/manager/metadata"
)

// The types of resources.
const (
	Content  = "content"  // ID: a blob's digest
	Snapshot = "snapshot" // ID: a snapshot's key
)

// Resource is one thing that a lease keeps.
type Resource struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Lease is one lease.
type Lease struct {
	metadata.Header
	ID        string     `json:"id"`
	Namespace string     `json:"-"`
	ExpiresAt time.Time  `json:"expiresAt,omitzero"` // zero: never
	Resources []Resource `json:"resources,omitempty"`
}

// Options of Create.
type Options struct {
	ID     string            // "" for a random one
	Labels map[string]string // metadata of the maker
	Expiry time.Duration     // after which it ends by itself, so that a crash leaves nothing for ever; 0: never
}

// Manager keeps the leases in a database: the volatile one makes them free of syncs, and a lease need not outlive
// the boot, since nothing that it was for does.
type Manager struct {
	db *metadata.DB
	// adding is held for reading by Add and for writing by Hold.
	adding sync.RWMutex
}

// New returns the Manager of db's leases.
func New(db *metadata.DB) *Manager { return &Manager{db: db} }

// Create makes a lease. AlreadyExists when the id is taken.
func (m *Manager) Create(ctx context.Context, ns string, o Options) (Lease, error) {
	now := time.Now().UTC()
	l := Lease{ID: o.ID, Namespace: ns, Header: metadata.Header{Labels: maps.Clone(o.Labels), CreatedAt: now, UpdatedAt: now}}
	if l.ID == "" {
		l.ID = ids.New().String()
	}
	if o.Expiry > 0 {
		l.ExpiresAt = now.Add(o.Expiry)
	}
	err := m.db.Update(ctx, func(tx *metadata.Tx) error {
		if tx.Has(metadata.Leases, ns, l.ID) {
			return errdefs.AlreadyExists("lease %s: already exists", l.ID)
		}
		return tx.Put(metadata.Leases, ns, l.ID, l)
	})
	if err != nil {
		return Lease{}, err
	}
	return l, nil
}

// Add puts resources into a lease; those that are in it already are fine. While the collector deletes, it waits.
func (m *Manager) Add(ctx context.Context, ns, id string, resources ...Resource) error {
	for _, r := range resources {
		if (r.Type != Content && r.Type != Snapshot) || r.ID == "" {
			return errdefs.InvalidArgument("lease %s: resource %q of type %q", id, r.ID, r.Type)
		}
	}
	m.adding.RLock()
	defer m.adding.RUnlock()
	return m.change(ctx, ns, id, func(l *Lease) {
		for _, r := range resources {
			if !slices.Contains(l.Resources, r) {
				l.Resources = append(l.Resources, r)
			}
		}
	})
}

// Release takes resources out of a lease; those that are not in it are fine.
func (m *Manager) Release(ctx context.Context, ns, id string, resources ...Resource) error {
	return m.change(ctx, ns, id, func(l *Lease) {
		l.Resources = slices.DeleteFunc(l.Resources, func(r Resource) bool { return slices.Contains(resources, r) })
	})
}

func (m *Manager) change(ctx context.Context, ns, id string, change func(*Lease)) error {
	return m.db.Update(ctx, func(tx *metadata.Tx) error {
		var l Lease
		if err := tx.Get(metadata.Leases, ns, id, &l); err != nil {
			return err
		}
		if l.expired(time.Now()) {
			return errdefs.NotFound("lease %s: has expired", id)
		}
		before := len(l.Resources)
		change(&l)
		if len(l.Resources) == before {
			return nil
		}
		l.UpdatedAt = time.Now().UTC()
		return tx.Put(metadata.Leases, ns, id, l)
	})
}

func (l Lease) expired(now time.Time) bool { return !l.ExpiresAt.IsZero() && !now.Before(l.ExpiresAt) }

// Delete ends a lease: what it alone kept goes with the next collection. NotFound when there is none.
func (m *Manager) Delete(ctx context.Context, ns, id string) error {
	return m.db.Update(ctx, func(tx *metadata.Tx) error { return tx.Delete(metadata.Leases, ns, id) })
}

// List returns a namespace's leases by id, without expired ones.
func (m *Manager) List(ctx context.Context, ns string) ([]Lease, error) {
	var list []Lease
	err := m.db.View(ctx, func(tx *metadata.Tx) error {
		return each(tx, ns, func(l Lease) {
			if !l.expired(time.Now()) {
				list = append(list, l)
			}
		})
	})
	return list, err
}

// All returns the leases of all namespaces, without expired ones.
func (m *Manager) All(ctx context.Context) ([]Lease, error) {
	var list []Lease
	err := m.db.View(ctx, func(tx *metadata.Tx) error {
		names, err := tx.Namespaces(metadata.Leases)
		for _, ns := range names {
			err = errors.Join(err, each(tx, ns, func(l Lease) {
				if !l.expired(time.Now()) {
					list = append(list, l)
				}
			}))
		}
		return err
	})
	return list, err
}

// Expire removes leases whose time is over and returns how many.
func (m *Manager) Expire(ctx context.Context) (int, error) {
	var dead []Lease
	err := m.db.View(ctx, func(tx *metadata.Tx) error {
		names, err := tx.Namespaces(metadata.Leases)
		for _, ns := range names {
			err = errors.Join(err, each(tx, ns, func(l Lease) {
				if l.expired(time.Now()) {
					dead = append(dead, l)
				}
			}))
		}
		return err
	})
	if err != nil || len(dead) == 0 {
		return 0, err
	}
	n := 0
	err = m.db.Update(ctx, func(tx *metadata.Tx) error {
		n = 0
		for _, l := range dead {
			err := tx.Delete(metadata.Leases, l.Namespace, l.ID)
			if err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// Hold keeps every Add waiting while fn runs: fn reads the leases and deletes what none of them keeps.
func (m *Manager) Hold(fn func() error) error {
	m.adding.Lock()
	defer m.adding.Unlock()
	return fn()
}

func each(tx *metadata.Tx, ns string, fn func(Lease)) error {
	return tx.Each(metadata.Leases, ns, "", func(key string, raw []byte) error {
		l := Lease{}
		if err := json.Unmarshal(raw, &l); err != nil {
			return fmt.Errorf("lease %s: %w", key, err)
		}
		l.Namespace = ns
		fn(l)
		return nil
	})
}
