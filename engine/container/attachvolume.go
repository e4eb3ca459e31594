package container

import (
	"context"
	"slices"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/logging"
)

// attachVolumes mounts those volumes among the mounts that need it, for a run or, under another name, for a copy. The mounts
// that it returns say where the volumes are.
func (s *Service) attachVolumes(ctx context.Context, run string, mounts []Mount) (_ []Mount, release func(), err error) {
	if !slices.ContainsFunc(mounts, func(m Mount) bool { return m.Attach }) {
		return mounts, func() {}, nil
	}
	var undo cleanup.Stack
	defer undo.Run(ctx, nil)
	out := slices.Clone(mounts)
	for i, m := range out {
		if !m.Attach {
			continue
		}
		if n := slices.IndexFunc(out[:i], func(o Mount) bool { return o.Attach && o.Name == m.Name }); n >= 0 {
			out[i].Source = out[n].Source
			continue
		}
		if out[i].Source, err = s.cfg.Attachments.Mount(ctx, m.Name, run); err != nil {
			return nil, nil, err
		}
		undo.Add(func(ctx context.Context) error { return s.cfg.Attachments.Unmount(ctx, m.Name, run) })
	}
	undo.Release()
	return out, func() { s.detachVolumes(context.WithoutCancel(ctx), run, out) }, nil
}

func (s *Service) detachVolumes(ctx context.Context, run string, mounts []Mount) {
	for _, m := range mounts {
		if !m.Attach {
			continue
		}
		if err := s.cfg.Attachments.Unmount(ctx, m.Name, run); err != nil {
			logging.From(ctx).Error("volume stays mounted", "op", "unmount", "volume", m.Name, "err", err)
		}
	}
}
