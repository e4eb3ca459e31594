package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// specMounts are the mounts as the runtime gets them; missing bind sources are made where Docker makes them.
func (s *Service) specMounts(ctx context.Context, mounts []Mount, foreign bool, after *releases) ([]spec.Mount, error) {
	out := make([]spec.Mount, 0, len(mounts))
	for _, m := range mounts {
		sm := spec.Mount{Destination: m.Destination, Source: m.Source, Type: "bind"}
		switch m.Type {
		case mount.TypeImage:
			var err error
			if sm, err = s.imageMount(ctx, m); err != nil {
				return nil, err
			}
		case mount.TypeTmpfs:
			sm.Type = "tmpfs"
			sm.Options = tmpfsOptions(m)
		default:
			if m.Type == mount.TypeBind {
				if err := bindSource(m); err != nil {
					return nil, err
				}
			}
			if m.Subpath != "" {
				sub, err := s.subpath(m, after)
				if err != nil {
					return nil, err
				}
				sm.Source = sub
			}
			how, prop := "rbind", "rprivate"
			if m.Type == mount.TypeBind && !m.Recursive {
				how = "bind"
			}
			if m.Propagation != "" {
				prop = string(m.Propagation)
			}
			sm.Options = []string{how, prop}
			if !m.RW {
				sm.Options = append(sm.Options, readOnly(m, foreign))
			}
		}
		out = append(out, sm)
	}
	return out, nil
}

// readOnly is the option that makes a mount read-only: with all that is mounted below it, as since Docker 25. A foreign
// runtime may not know how, and is asked for it only when that is a must.
func readOnly(m Mount, foreign bool) string {
	if m.ForceRO || !foreign && !m.FlatRO && (m.Recursive || m.Type == mount.TypeVolume) {
		return "rro"
	}
	return "ro"
}

func bindSource(m Mount) error {
	_, err := os.Stat(m.Source)
	if !errors.Is(err, fs.ErrNotExist) {
		return nil // what else is wrong with it the runtime tells
	}
	if !m.MakeSource {
		return errdefs.InvalidArgument("invalid mount config for type \"bind\": bind source path does not exist: %s", m.Source)
	}
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
	}
	return nil
}

// releases end what was there only for the making of a container.
type releases []func()

func (r *releases) run() {
	for _, release := range *r {
		release()
	}
}

// subpath gives the place of a part of a volume.
func (s *Service) subpath(m Mount, after *releases) (string, error) {
	path, release, err := s.cfg.Attachments.Subpath(m.Name, m.Source, m.Subpath)
	if err == nil {
		*after = append(*after, release)
	}
	return path, err
}
