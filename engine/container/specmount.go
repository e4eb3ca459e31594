package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// specMounts are the mounts as the runtime gets them; missing bind sources are made where Docker makes them.
func (s *Service) specMounts(ctx context.Context, mounts []Mount) ([]spec.Mount, error) {
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
				sub, err := volumeSubpath(m)
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
				sm.Options = append(sm.Options, "ro")
			}
		}
		out = append(out, sm)
	}
	return out, nil
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

// volumeSubpath finds a directory below a volume without leaving it (os.Root refuses what leads out, CVE-2024-21626
// is what happens otherwise), and names it by its real path.
func volumeSubpath(m Mount) (string, error) {
	root, err := os.OpenRoot(m.Source)
	if err != nil {
		return "", fmt.Errorf("volume %s: %w", m.Name, err)
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(m.Subpath)
	if err != nil {
		return "", errdefs.InvalidArgument("cannot access path %s of volume %s: %w", m.Subpath, m.Name, err)
	}
	defer func() { _ = f.Close() }()
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return "", fmt.Errorf("volume %s: %w", m.Name, err)
	}
	return path, nil
}
