package image

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/registry"
)

// holdFor bounds the lease of one operation, so that a crash leaves nothing held for ever.
const holdFor = 24 * time.Hour

// hold is the lease of one operation: what it names is there until the operation's end, once it was seen there.
type hold struct {
	leases *lease.Manager
	ns, id string
	wrote  atomic.Bool // something that a failure leaves to the collector
}

// holding runs fn under a lease of its own. What fn had brought when it failed goes at once.
func (s *Service) holding(ctx context.Context, ns string, fn func(*hold) error) error {
	return s.holdingFor(ctx, ns, "", fn)
}

// holdingFor is holding for work that has a name: blobs that were brought whole when it was interrupted stay for the
// next try (package lease).
func (s *Service) holdingFor(ctx context.Context, ns, resume string, fn func(*hold) error) (err error) {
	o := lease.Options{Expiry: holdFor}
	if resume != "" {
		o.Labels = map[string]string{lease.LabelResume: resume}
	}
	l, err := s.Leases.Create(ctx, ns, o)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	h := &hold{leases: s.Leases, ns: ns, id: l.ID}
	defer func() {
		e := s.endHold(context.WithoutCancel(ctx), ns, l.ID, resume, err, ctx.Err() != nil)
		if e != nil && !errdefs.IsNotFound(e) {
			err = errors.Join(err, e)
		}
		if err != nil && h.wrote.Load() {
			s.collect(ctx)
		}
	}()
	return fn(h)
}

// endHold ends a lease after its work, which failed with err; what was only interrupted is set aside.
func (s *Service) endHold(ctx context.Context, ns, id, resume string, err error, cancelled bool) error {
	if resume != "" && err != nil && (cancelled || registry.Interrupted(err)) {
		return s.Leases.SetAside(ctx, ns, id)
	}
	if resume != "" && err == nil {
		err = s.Leases.DropAside(ctx, ns, resume)
	} else {
		err = nil
	}
	return errors.Join(err, s.Leases.Delete(ctx, ns, id))
}

func (h *hold) blobs(ctx context.Context, digests ...digest.Digest) error {
	list := make([]lease.Resource, 0, len(digests))
	for _, d := range digests {
		list = append(list, lease.Resource{Type: lease.Content, ID: d.String()})
	}
	return h.add(ctx, list)
}

func (h *hold) snapshots(ctx context.Context, keys ...string) error {
	h.wrote.Store(true)
	list := make([]lease.Resource, 0, len(keys))
	for _, k := range keys {
		list = append(list, lease.Resource{Type: lease.Snapshot, ID: k})
	}
	return h.add(ctx, list)
}

func (h *hold) add(ctx context.Context, list []lease.Resource) error {
	if len(list) == 0 {
		return nil
	}
	return h.leases.Add(ctx, h.ns, h.id, list...)
}
