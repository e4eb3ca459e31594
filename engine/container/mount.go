package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// parseBind reads "source:destination[:mode]" or "destination" of HostConfig.Binds.
func parseBind(text, driver string) (Mount, error) {
	invalid := errdefs.InvalidArgument("invalid volume specification: '%s'", text)
	parts := strings.Split(text, ":")
	m := Mount{RW: true, Recursive: true}
	switch len(parts) {
	case 1:
		m.Destination = parts[0]
	case 2:
		m.Source, m.Destination = parts[0], parts[1]
		if m.Source == "" || isMode(m.Destination) {
			return m, invalid
		}
	case 3:
		m.Source, m.Destination, m.Mode = parts[0], parts[1], parts[2]
		if m.Source == "" {
			return m, invalid
		}
	default:
		return m, invalid
	}
	dst, err := spec.CleanMountTarget(m.Destination)
	if err != nil {
		return m, errdefs.InvalidArgument("invalid volume specification: '%s': %w", text, err)
	}
	m.Destination = dst
	if filepath.IsAbs(m.Source) {
		m.Type, m.Source, m.MakeSource = mount.TypeBind, filepath.Clean(m.Source), true
		m.Propagation = mount.PropagationRPrivate
	} else {
		m.Type, m.Name, m.Source, m.Driver = mount.TypeVolume, m.Source, "", driver
	}
	return m, m.applyMode()
}

var propagations = []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}

func isMode(s string) bool {
	for o := range strings.SplitSeq(s, ",") {
		switch o {
		case "ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", "default":
		default:
			if !slices.Contains(propagations, o) {
				return false
			}
		}
	}
	return true
}

func (m *Mount) applyMode() error {
	if m.Mode == "" {
		return nil
	}
	if !isMode(m.Mode) {
		return errdefs.InvalidArgument("invalid mode: %s", m.Mode)
	}
	for o := range strings.SplitSeq(m.Mode, ",") {
		switch {
		case o == "ro":
			m.RW = false
		case o == "nocopy":
			m.NoCopy = true
			if m.Type == mount.TypeBind {
				return errdefs.InvalidArgument("invalid mode: %s", m.Mode)
			}
		case slices.Contains(propagations, o):
			if m.Type != mount.TypeBind {
				return errdefs.InvalidArgument("invalid mode: %s", m.Mode)
			}
			m.Propagation = mount.Propagation(o)
		}
	}
	return nil
}

// parseMount reads one entry of HostConfig.Mounts.
func parseMount(in *mount.Mount) (Mount, error) {
	bad := func(format string, a ...any) error {
		return errdefs.InvalidArgument("invalid mount config for type %q: %w", in.Type, fmt.Errorf(format, a...))
	}
	m := Mount{Type: in.Type, RW: !in.ReadOnly, Recursive: true}
	if in.Target == "" {
		return m, bad("field Target must not be empty")
	}
	dst, err := spec.CleanMountTarget(in.Target)
	if err != nil {
		return m, bad("%w", err)
	}
	m.Destination = dst
	switch in.Type {
	case mount.TypeBind:
		return m, m.fromBind(in, bad)
	case mount.TypeVolume:
		return m, m.fromVolume(in, bad)
	case mount.TypeTmpfs:
		if in.Source != "" {
			return m, bad("field Source must not be specified")
		}
		if in.BindOptions != nil || in.VolumeOptions != nil {
			return m, bad("options of another mount type must not be specified")
		}
		if m.Tmpfs = in.TmpfsOptions; m.Tmpfs == nil {
			m.Tmpfs = &mount.TmpfsOptions{}
		}
		if m.Tmpfs.SizeBytes < 0 {
			return m, bad("the size must not be negative")
		}
		return m, checkTmpfs(m.Destination, m.wanted())
	case mount.TypeImage:
		return m, m.fromImage(in, bad)
	case mount.TypeCluster, mount.TypeNamedPipe:
		return m, errdefs.NotImplemented("mount type %q is not implemented", in.Type)
	}
	return m, errdefs.InvalidArgument("invalid mount config for type %q: mount type unknown", in.Type)
}

func (m *Mount) fromBind(in *mount.Mount, bad func(string, ...any) error) error {
	if in.Source == "" {
		return bad("field Source must not be empty")
	}
	if in.VolumeOptions != nil || in.TmpfsOptions != nil {
		return bad("options of another mount type must not be specified")
	}
	if !filepath.IsAbs(in.Source) {
		return bad("invalid mount path: '%s' mount path must be absolute", in.Source)
	}
	m.Source, m.Propagation = filepath.Clean(in.Source), mount.PropagationRPrivate
	if o := in.BindOptions; o != nil {
		if o.Propagation != "" {
			if !slices.Contains(propagations, string(o.Propagation)) {
				return bad("invalid propagation: %s", o.Propagation)
			}
			m.Propagation = o.Propagation
		}
		m.Recursive, m.MakeSource = !o.NonRecursive, o.CreateMountpoint
		m.FlatRO, m.ForceRO = o.ReadOnlyNonRecursive, o.ReadOnlyForceRecursive
		switch {
		case (m.FlatRO || m.ForceRO) && m.RW:
			return bad("option 'ReadOnlyNonRecursive' or 'ReadOnlyForceRecursive' without 'ReadOnly'")
		case m.FlatRO && m.ForceRO:
			return bad("option 'ReadOnlyForceRecursive' conflicts with option 'ReadOnlyNonRecursive'")
		case m.ForceRO && m.Propagation != mount.PropagationRPrivate:
			return bad("option 'ReadOnlyForceRecursive' needs the propagation rprivate")
		}
	}
	if !m.MakeSource {
		if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
			return bad("bind source path does not exist: %s", m.Source)
		}
	}
	return nil
}

// fromImage shows an image, which stays as it is: such a mount is always read-only.
func (m *Mount) fromImage(in *mount.Mount, bad func(string, ...any) error) error {
	if in.Source == "" {
		return bad("field Source must not be empty: it names the image")
	}
	if in.BindOptions != nil || in.VolumeOptions != nil || in.TmpfsOptions != nil {
		return bad("options of another mount type must not be specified")
	}
	m.Name, m.RW = in.Source, false
	if o := in.ImageOptions; o != nil && o.Subpath != "" {
		if !filepath.IsLocal(o.Subpath) {
			return bad("subpath must be a relative path within the image")
		}
		m.Subpath = filepath.Clean(o.Subpath)
	}
	return nil
}

func (m *Mount) fromVolume(in *mount.Mount, bad func(string, ...any) error) error {
	if in.BindOptions != nil || in.TmpfsOptions != nil {
		return bad("options of another mount type must not be specified")
	}
	m.Name = in.Source
	o := in.VolumeOptions
	if o == nil {
		return nil
	}
	m.NoCopy = o.NoCopy
	if o.Subpath != "" {
		if m.Name == "" {
			return bad("must not set Subpath when using anonymous volumes")
		}
		if !filepath.IsLocal(o.Subpath) {
			return bad("subpath must be a relative path within the volume")
		}
		m.Subpath = o.Subpath
	}
	if o.DriverConfig != nil {
		m.Driver = o.DriverConfig.Name
	}
	return nil
}
