package volume

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	types "github.com/moby/moby/api/types/volume"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/event"
	"github.com/conex-containers/conex/engine/filter"
)

// Service is the volume part of the engine: Docker's verbs over a Store.
type Service struct {
	*Store
	events *event.Bus
}

// NewService puts Docker's verbs on a store.
func NewService(s *Store, bus *event.Bus) *Service { return &Service{Store: s, events: bus} }

// Drivers are the volume drivers that there are.
func (s *Service) Drivers() []string { return append([]string{Driver}, s.plugins.names()...) }

func (s *Service) view(v Volume) types.Volume {
	out := types.Volume{
		Name: v.Name, Driver: v.DriverName(), Mountpoint: s.Dir(v.Name), Scope: "local", CreatedAt: v.CreatedAt.Format(time.RFC3339),
		Labels: v.Labels, Options: v.Options,
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	return out
}

// VolumeList lists the volumes by name.
func (s *Service) VolumeList(_ context.Context, f docker.Filters) (types.ListResponse, error) {
	out := types.ListResponse{Volumes: []types.Volume{}, Warnings: []string{}}
	if err := filter.Known(f, "dangling", "driver", "label", "name"); err != nil {
		return out, err
	}
	dangling, err := filter.Bool(f, "dangling", false)
	if err != nil {
		return out, err
	}
	for _, v := range s.List() {
		if len(f["dangling"]) > 0 && (len(s.Users(v.Name)) == 0) != dangling {
			continue
		}
		if d := f.Get("driver"); len(d) > 0 && !slices.Contains(d, v.DriverName()) {
			continue
		}
		if names := f.Get("name"); len(names) > 0 && !slices.ContainsFunc(names, func(p string) bool { return nameMatches(p, v.Name) }) {
			continue
		}
		if filter.Labels(f, v.Labels) {
			out.Volumes = append(out.Volumes, s.view(v))
		}
	}
	return out, nil
}

func nameMatches(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(name)
}

// VolumeInspect shows one volume.
func (s *Service) VolumeInspect(ctx context.Context, name string) (types.Volume, error) {
	v, err := s.Get(name)
	if err != nil {
		return types.Volume{}, err
	}
	out := s.view(v)
	if v.Driver != "" {
		out.Mountpoint, out.Status = s.plugins.status(ctx, &v)
	}
	return out, nil
}

// VolumeCreate makes a volume, or returns the one of this name.
func (s *Service) VolumeCreate(ctx context.Context, req types.CreateRequest) (types.Volume, error) {
	v, made, err := s.Ensure(ctx, Options{Name: req.Name, Driver: req.Driver, Options: req.DriverOpts, Labels: req.Labels})
	if err != nil {
		return types.Volume{}, err
	}
	if made {
		s.events.Publish(events.VolumeEventType, events.ActionCreate, v.Name, map[string]string{"driver": v.DriverName()})
	}
	return s.view(v), nil
}

// VolumeRemove deletes a volume.
func (s *Service) VolumeRemove(ctx context.Context, name string, force bool) error {
	v, missing := s.Get(name)
	if err := s.Remove(ctx, name, force); err != nil {
		return err
	}
	if missing == nil {
		s.events.Publish(events.VolumeEventType, events.ActionDestroy, name, map[string]string{"driver": v.DriverName()})
	}
	return nil
}

// VolumesPrune removes unused volumes: the anonymous ones, with the filter all=true the named ones too.
func (s *Service) VolumesPrune(ctx context.Context, f docker.Filters) (types.PruneReport, error) {
	report := types.PruneReport{VolumesDeleted: []string{}}
	if err := filter.Known(f, "all", "label", "label!"); err != nil {
		return report, err
	}
	all, err := filter.Bool(f, "all", false)
	if err != nil {
		return report, err
	}
	for _, v := range s.List() {
		if !all && !v.Anonymous() || len(s.Users(v.Name)) > 0 || !filter.Labels(f, v.Labels) {
			continue
		}
		size, err := s.Size(v.Name)
		if err != nil || v.Attached() {
			size = 0
		}
		if err := s.VolumeRemove(ctx, v.Name, false); err != nil {
			logging.From(ctx).Warn("prune", "op", "prune", "volume", v.Name, "err", err)
			continue
		}
		report.VolumesDeleted = append(report.VolumesDeleted, v.Name)
		report.SpaceReclaimed += uint64(size)
	}
	s.events.Publish(events.VolumeEventType, events.ActionPrune, "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	return report, nil
}

// Usage is what `system df` shows of the volumes.
func (s *Service) Usage(ctx context.Context, verbose bool) (*types.DiskUsage, error) {
	out := &types.DiskUsage{}
	for _, v := range s.List() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		size, err := s.Size(v.Name)
		if v.Attached() {
			size, err = 0, nil // it lies elsewhere, and may be a network away
		}
		if err != nil {
			return nil, fmt.Errorf("disk usage: %w", err)
		}
		users := len(s.Users(v.Name))
		out.TotalCount++
		out.TotalSize += size
		if users > 0 {
			out.ActiveCount++
		} else {
			out.Reclaimable += size
		}
		if verbose {
			item := s.view(v)
			item.UsageData = &types.UsageData{RefCount: int64(users), Size: size}
			if v.Attached() {
				item.UsageData.Size = -1
			}
			out.Items = append(out.Items, item)
		}
	}
	return out, nil
}
