package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/engine/volume"
)

// mountPlan collects a request's mounts by destination; one destination has one mount.
type mountPlan struct {
	mounts  []Mount
	options map[string]*mount.VolumeOptions // by destination
	from    map[string]bool                 // destinations of volumes-from: others may replace them
}

func (p *mountPlan) add(m Mount) error {
	for i := range p.mounts {
		if p.mounts[i].Destination != m.Destination {
			continue
		}
		if !p.from[m.Destination] {
			return errdefs.InvalidArgument("Duplicate mount point: %s", m.Destination)
		}
		delete(p.from, m.Destination)
		p.mounts[i] = m
		return nil
	}
	p.mounts = append(p.mounts, m)
	return nil
}

// planMounts resolves everything that a request says of mounts; nothing is made yet.
func (s *Service) planMounts(c *types.Config, hc *types.HostConfig) (*mountPlan, error) {
	p := &mountPlan{options: map[string]*mount.VolumeOptions{}, from: map[string]bool{}}
	if err := s.planVolumesFrom(p, hc.VolumesFrom); err != nil {
		return nil, err
	}
	for _, b := range hc.Binds {
		m, err := parseBind(b, hc.VolumeDriver)
		if err != nil {
			return nil, err
		}
		if err := p.add(m); err != nil {
			return nil, err
		}
	}
	for i := range hc.Mounts {
		m, err := parseMount(&hc.Mounts[i])
		if err != nil {
			return nil, err
		}
		if err := p.add(m); err != nil {
			return nil, err
		}
		if o := hc.Mounts[i].VolumeOptions; o != nil {
			p.options[m.Destination] = o
		}
	}
	for dst, data := range hc.Tmpfs {
		clean, err := spec.CleanMountTarget(dst)
		if err != nil {
			return nil, err
		}
		m := Mount{Type: mount.TypeTmpfs, Destination: clean, RW: true, TmpfsData: data}
		if err := checkTmpfs(clean, m.wanted()); err != nil {
			return nil, err
		}
		if err := p.add(m); err != nil {
			return nil, err
		}
	}
	for _, dst := range keys(c.Volumes) {
		clean, err := spec.CleanMountTarget(dst)
		if err != nil {
			return nil, err
		}
		if clean == "/proc" || strings.HasPrefix(clean, "/proc/") { // an image's word must not take the masks of /proc away
			return nil, errdefs.InvalidArgument("invalid volume '%s': a volume cannot be mounted over /proc", dst)
		}
		if !slices.ContainsFunc(p.mounts, func(m Mount) bool { return m.Destination == clean }) {
			p.mounts = append(p.mounts, Mount{Type: mount.TypeVolume, Destination: clean, RW: true, Driver: hc.VolumeDriver})
		}
	}
	return p, nil
}

func (s *Service) planVolumesFrom(p *mountPlan, refs []string) error {
	for _, ref := range refs {
		name, mode, _ := strings.Cut(ref, ":")
		if name == "" || mode != "" && !isMode(mode) {
			return errdefs.InvalidArgument("invalid volumes-from specification: '%s'", ref)
		}
		from, err := s.index.find(name)
		if err != nil { // not "not found": the docker CLI would take that for the image, and pull it
			return errdefs.InvalidArgument("volumes-from: %w", err)
		}
		for _, m := range from.record().Mounts {
			if m.Type == mount.TypeTmpfs {
				continue
			}
			if mode != "" {
				m.Mode = mode
				m.RW = m.RW && !slices.Contains(strings.Split(mode, ","), "ro")
			}
			m.NoCopy, m.Anonymous, m.View = true, false, ""
			if p.from[m.Destination] {
				continue
			}
			if err := p.add(m); err != nil {
				return err
			}
			p.from[m.Destination] = true
		}
	}
	return nil
}

// makeVolumes makes the plan's volumes for a container, or finds them, and notes that it uses them.
func (s *Service) makeVolumes(ctx context.Context, p *mountPlan, id string, volatile bool, undo *cleanup.Stack) error {
	for i := range p.mounts {
		m := &p.mounts[i]
		if m.Type != mount.TypeVolume {
			continue
		}
		o := volume.Options{Name: m.Name, Driver: m.Driver}
		o.Anonymous = m.Name == ""
		o.Volatile = o.Anonymous && volatile
		if vo := p.options[m.Destination]; vo != nil {
			o.Labels = vo.Labels
			if vo.DriverConfig != nil {
				o.Options = vo.DriverConfig.Options
			}
		}
		v, made, err := s.cfg.Volumes.Ensure(ctx, o)
		if err != nil {
			return err
		}
		if made {
			s.cfg.Events.Publish(events.VolumeEventType, events.ActionCreate, v.Name, map[string]string{"driver": v.DriverName()})
			undo.Add(func(ctx context.Context) error { return s.cfg.Volumes.Remove(ctx, v.Name, true) })
		}
		if err := s.cfg.Volumes.Use(v.Name, id); err != nil {
			return err
		}
		undo.Add(func(context.Context) error { s.cfg.Volumes.Release(v.Name, id); return nil })
		m.Name, m.Driver, m.Attach = v.Name, v.DriverName(), v.Attached()
		m.Anonymous = o.Anonymous
		if dev, ok := volume.BindDevice(v.Options); ok {
			m.Source = dev
		} else {
			m.Source = s.cfg.Volumes.Dir(v.Name)
		}
	}
	return nil
}

// copyUp fills empty volumes with what the image has at their place.
func (s *Service) copyUp(ctx context.Context, id string, mounts []Mount) error {
	mounts = slices.DeleteFunc(slices.Clone(mounts), func(m Mount) bool {
		return m.Type != mount.TypeVolume || m.NoCopy || m.Subpath != ""
	})
	mounts, release, err := s.attachVolumes(ctx, id+"-copy", mounts)
	if err != nil {
		return err
	}
	defer release()
	var root Root
	defer func() {
		if root != nil {
			_ = root.Close()
		}
	}()
	for _, m := range mounts {
		into, err := os.Open(m.Source)
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
		if names, _ := into.Readdirnames(1); len(names) == 0 {
			if root == nil {
				root, err = s.cfg.OpenRoot(ctx, id)
			}
			if err == nil {
				err = root.CopyTree(m.Destination, into)
			}
			if errors.Is(err, fs.ErrNotExist) || errdefs.IsNotFound(err) {
				err = nil
			}
		}
		_ = into.Close()
		if err != nil {
			return fmt.Errorf("volume %s: copy %s of the image: %w", m.Name, m.Destination, err)
		}
	}
	return nil
}
