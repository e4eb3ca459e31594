package container

import (
	"context"
	"fmt"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/storage"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
)

// ContainerInspect shows everything of one container; size adds what its file system occupies.
func (s *Service) ContainerInspect(ctx context.Context, ref string, size bool) (*types.InspectResponse, error) {
	c, err := s.index.find(ref)
	if err != nil {
		return nil, err
	}
	v := c.view()
	files := s.files(&v.Record)
	out := &types.InspectResponse{
		ID: v.ID, Created: v.CreatedAt.Format(time.RFC3339Nano), Path: v.Path, Args: v.Args, State: v.inspectState(),
		Image: v.ImageID, Name: "/" + v.Name, RestartCount: v.RestartCount, Driver: v.Driver, Platform: v.Platform,
		ExecIDs: v.ExecIDs, HostConfig: s.shownLinks(&v.Record), Mounts: mountPoints(v.Mounts), Config: v.Config,
		ImageManifestDescriptor: v.Manifest,
		NetworkSettings:         &types.NetworkSettings{Ports: portMap(&v), Networks: s.endpointSettings(&v)},
		Storage:                 &storage.Storage{RootFS: &storage.RootFSStorage{Snapshot: &storage.RootFSStorageSnapshot{Name: v.Driver}}},
	}
	if out.Args == nil {
		out.Args = []string{}
	}
	if v.HasStarted {
		out.HostsPath, out.HostnamePath, out.ResolvConfPath = files.Hosts, files.Hostname, files.ResolvConf
		out.NetworkSettings.SandboxID = v.ID
	}
	if v.alive() && !v.HostConfig.NetworkMode.IsHost() {
		out.NetworkSettings.SandboxKey = fmt.Sprintf("/proc/%d/ns/net", v.Run.Pid)
	}
	if v.HostConfig.LogConfig.Type == "json-file" {
		out.LogPath = s.logPath(v.ID)
	}
	if size {
		rw, root, err := s.sizes(ctx, &v.Record)
		if err != nil {
			return nil, err
		}
		out.SizeRw, out.SizeRootFs = &rw, &root
	}
	return out, nil
}

// sizes are the bytes that a container wrote, and these with its image's.
func (s *Service) sizes(ctx context.Context, rec *Record) (rw, root int64, err error) {
	u, err := s.cfg.Snapshots.Usage(ctx, rec.ID)
	if err != nil {
		return 0, 0, fmt.Errorf("container %s: size: %w", rec.ID, err)
	}
	root = u.Size
	for key := rec.ChainID; key != ""; {
		info, err := s.cfg.Snapshots.Stat(ctx, key)
		if err != nil {
			break // the image is being removed: what is known is still told
		}
		root, key = root+info.Size, info.Parent
	}
	return u.Size, root, nil
}

// never is the time of what has not happened, as Docker writes it.
const never = "0001-01-01T00:00:00Z"

func stamp(t time.Time) string {
	if t.IsZero() {
		return never
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func (v *view) inspectState() *types.State {
	st := &types.State{
		Status: v.shown(), Running: v.alive() || v.State == types.StateRestarting, Paused: v.State == types.StatePaused,
		Restarting: v.State == types.StateRestarting, OOMKilled: v.OOMKilled, Dead: v.State == types.StateDead,
		ExitCode: v.ExitCode, Error: v.Error, StartedAt: stamp(v.StartedAt), FinishedAt: stamp(v.FinishedAt), Health: v.Health,
	}
	if v.alive() {
		st.Pid = v.Run.Pid
	}
	if st.Health == nil && v.validHealth() {
		st.Health = &types.Health{Status: types.Starting, Log: []*types.HealthcheckResult{}}
		if !v.alive() {
			st.Health.Status = types.Unhealthy
		}
	}
	return st
}

// shown is the state in the words that clients know.
func (v *view) shown() types.ContainerState {
	if v.State == removed {
		return types.StateRemoving
	}
	return v.State
}

func mountPoints(mounts []Mount) []types.MountPoint {
	out := make([]types.MountPoint, 0, len(mounts))
	for _, m := range mounts {
		p := types.MountPoint{
			Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, Driver: m.Driver, Mode: m.Mode,
			RW: m.RW, Propagation: m.Propagation,
		}
		if m.Type == mount.TypeVolume && p.Mode == "" {
			p.Mode = "z"
		}
		if m.Type == mount.TypeTmpfs && m.Tmpfs == nil {
			continue // HostConfig.Tmpfs shows it
		}
		out = append(out, p)
	}
	return out
}

// ContainerRename gives a container another name.
func (s *Service) ContainerRename(ctx context.Context, ref, name string) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	name = trimSlash(name)
	if name == "" {
		return errdefs.InvalidArgument("Neither old nor new names may be empty")
	}
	if err := ids.CheckName("container name", name); err != nil {
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	old := c.name()
	if old == name {
		return errdefs.InvalidArgument("Renaming a container with the same name as its current name")
	}
	if err := s.index.reserve(name, c.id()); err != nil {
		return err
	}
	rec := c.record()
	rec.Name, rec.UpdatedAt = name, time.Now().UTC()
	if err := s.save(ctx, &rec); err != nil {
		s.index.release(name, c.id())
		return fmt.Errorf("container %s: rename: %w", c.id(), err)
	}
	c.set(func() { c.rec.Name = name })
	s.index.release(old, c.id())
	s.renameEndpoints(ctx, c)
	s.publish(&rec, events.ActionRename, "oldName", "/"+old)
	return nil
}

// networksOf is what a list shows of the networks.
func (s *Service) networksOf(v *view) *types.NetworkSettingsSummary {
	return &types.NetworkSettingsSummary{Networks: s.endpointSettings(v)}
}
