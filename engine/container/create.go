package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	netapi "github.com/moby/moby/api/types/network"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/health"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/snapshot"
)

// rootLabel keeps the garbage collector from a snapshot whose record is not yet written.
const rootLabel = "containerd.io/gc.root"

// snapshotLabel marks the snapshots of containers, so that those of a half-made one are found and removed.
const snapshotLabel = "conex.container"

// ContainerCreate makes a container: its record, its root file system and its volumes; or nothing of them.
func (s *Service) ContainerCreate(ctx context.Context, name, platform string, req *types.CreateRequest) (_ types.CreateResponse, err error) {
	var none types.CreateResponse
	if req == nil || req.Config == nil {
		return none, errdefs.InvalidArgument("config cannot be empty in order to create a container")
	}
	rec, detail, warnings, err := s.design(ctx, name, platform, req)
	if err != nil {
		return none, err
	}
	plan, err := s.planMounts(rec.Config, rec.HostConfig)
	if err != nil {
		return none, err
	}
	var undo cleanup.Stack
	defer undo.Run(ctx, nil)
	if err := s.takeName(rec, &undo); err != nil {
		return none, err
	}
	if err := s.makeVolumes(ctx, plan, rec.ID, rec.HostConfig.AutoRemove, &undo); err != nil {
		return none, err
	}
	if err := s.makeViews(ctx, plan, rec, &undo); err != nil {
		return none, err
	}
	rec.Mounts = plan.mounts
	c := newContainer(*rec)
	if err := s.make(ctx, c, detail, &undo); err != nil {
		return none, err
	}
	s.index.add(c)
	undo.Release()
	s.publish(rec, events.ActionCreate)
	logging.From(ctx).Info("container created", "container", rec.ID, "image", rec.Config.Image)
	if warnings == nil {
		warnings = []string{}
	}
	return types.CreateResponse{ID: rec.ID, Warnings: warnings}, nil
}

// design validates a request and turns it into a record; nothing is made yet.
func (s *Service) design(ctx context.Context, name, platform string, req *types.CreateRequest) (*Record, image.Detail, []string, error) {
	var none image.Detail
	cfg := *req.Config
	hc := &types.HostConfig{}
	if req.HostConfig != nil {
		copied := *req.HostConfig
		hc = &copied
	}
	if name != "" {
		if err := ids.CheckName("container name", trimSlash(name)); err != nil {
			return nil, none, nil, err
		}
	}
	if cfg.Image == "" {
		return nil, none, nil, errdefs.InvalidArgument("no image specified: name one")
	}
	detail, err := s.cfg.Images.Get(ctx, s.cfg.Namespace, cfg.Image)
	if err != nil {
		return nil, none, nil, err
	}
	have := path.Join(detail.Config.OS, detail.Config.Architecture)
	if platform != "" && !matchesPlatform(platform, detail.Config.OS, detail.Config.Architecture, detail.Config.Variant) {
		return nil, none, nil, errdefs.NotFound("image with reference %s was found but its platform (%s) does not match the specified platform (%s)", cfg.Image, have, platform)
	}
	cfg.ExposedPorts, cfg.Labels, cfg.Volumes = clonedMap(cfg.ExposedPorts), clonedMap(cfg.Labels), clonedMap(cfg.Volumes)
	if err := mergeImage(&cfg, &detail); err != nil {
		return nil, none, nil, err
	}
	if err := checkConfig(&cfg); err != nil {
		return nil, none, nil, err
	}
	warnings, err := s.checkHost(&cfg, hc)
	if err != nil {
		return nil, none, nil, err
	}
	if err := s.resolveLinks(hc); err != nil {
		return nil, none, nil, err
	}
	rec := &Record{
		ID: ids.New().String(), Name: trimSlash(name), Config: &cfg, HostConfig: hc,
		ImageID: detail.ID.String(), ChainID: detail.ChainID, Platform: detail.Config.OS, Driver: s.cfg.StorageDriver,
	}
	if detail.Manifest.Digest != "" {
		m := detail.Manifest
		rec.Manifest = &m
	}
	rec.CreatedAt = time.Now().UTC()
	rec.UpdatedAt = rec.CreatedAt
	rec.Path, rec.Args = commandOf(&cfg)
	if cfg.Hostname == "" {
		cfg.Hostname = rec.ID[:12]
		if hc.NetworkMode.IsHost() || hc.UTSMode.IsHost() {
			cfg.Hostname = s.cfg.Host.Hostname
		}
	}
	if rec.Networks, err = s.planNetworks(hc, req.NetworkingConfig); err != nil {
		return nil, none, nil, err
	}
	return rec, detail, warnings, nil
}

func trimSlash(name string) string {
	if len(name) > 0 && name[0] == '/' {
		return name[1:]
	}
	return name
}

func clonedMap[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return nil
	}
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// commandOf joins entrypoint and command.
func commandOf(c *types.Config) (string, []string) {
	all := append(append([]string{}, c.Entrypoint...), c.Cmd...)
	return all[0], all[1:]
}

// matchesPlatform compares "os/arch[/variant]" with an image's.
func matchesPlatform(want, os, arch, variant string) bool {
	return want == os || want == path.Join(os, arch) || want == path.Join(os, arch, variant) ||
		want == arch || variant == "" && path.Dir(want) == path.Join(os, arch)
}

// takeName reserves the wanted name, or a generated one.
func (s *Service) takeName(rec *Record, undo *cleanup.Stack) error {
	const tries = 100
	err := errdefs.InvalidArgument("container name is empty")
	if rec.Name != "" {
		err = s.index.reserve(rec.Name, rec.ID)
	} else {
		for try := 0; try < tries && err != nil; try++ {
			rec.Name = generatedName(try)
			err = s.index.reserve(rec.Name, rec.ID)
		}
	}
	if err != nil {
		return err
	}
	name := rec.Name
	undo.Add(func(context.Context) error { s.index.release(name, rec.ID); return nil })
	return nil
}

// make writes the record and prepares the root file system side by side, so that their commits share one sync; a
// crash in between leaves one of the two, which Open removes.
func (s *Service) make(ctx context.Context, c *Container, detail image.Detail, undo *cleanup.Stack) error {
	rec := &c.rec
	if err := makeDir(s.dir(rec.ID)); err != nil {
		return err
	}
	undo.Add(func(context.Context) error { return os.RemoveAll(s.dir(rec.ID)) })
	if err := s.unpack(ctx, rec, detail); err != nil {
		return err
	}
	opts := []snapshot.Option{snapshot.WithLabels(map[string]string{snapshotLabel: s.cfg.Namespace, rootLabel: rec.CreatedAt.Format(time.RFC3339)}), snapshot.WithPoints()}
	if rec.HostConfig.AutoRemove {
		opts = append(opts, snapshot.Volatile())
	}
	undo.Add(func(ctx context.Context) error {
		return errors.Join(ignoreNotFound(s.cfg.Snapshots.Remove(ctx, rec.ID)), ignoreNotFound(s.erase(ctx, rec)))
	})
	var group errgroup.Group
	group.Go(func() error {
		_, err := s.cfg.Snapshots.Prepare(ctx, rec.ID, rec.ChainID, opts...)
		if !errdefs.IsNotFound(err) {
			return err
		}
		// The image was removed and collected since the look at it; when it is still there it is unpacked anew.
		if err := s.unpack(ctx, rec, detail); err != nil {
			return err
		}
		_, err = s.cfg.Snapshots.Prepare(ctx, rec.ID, rec.ChainID, opts...)
		return err
	})
	group.Go(func() error { return s.save(ctx, rec) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("container %s: create: %w", rec.Name, err)
	}
	return s.copyUp(ctx, rec.ID, rec.Mounts)
}

// unpack makes sure that the image's layers are there; an image's chain is always the same.
func (s *Service) unpack(ctx context.Context, rec *Record, detail image.Detail) error {
	chain, err := s.cfg.Images.Unpack(ctx, detail)
	if err != nil {
		return err
	}
	if chain != rec.ChainID {
		return fmt.Errorf("image %s: unpacked as %s instead of %s", rec.Config.Image, chain, rec.ChainID)
	}
	return nil
}

func (s *Service) database(rec *Record) Database {
	if rec.HostConfig.AutoRemove {
		return s.cfg.Volatile
	}
	return s.cfg.Durable
}

// save writes a record through to its database.
func (s *Service) save(ctx context.Context, rec *Record) error {
	return s.database(rec).Update(ctx, func(tx *metadata.Tx) error {
		return tx.Put(metadata.Containers, s.cfg.Namespace, rec.ID, rec)
	})
}

func (s *Service) erase(ctx context.Context, rec *Record) error {
	return s.database(rec).Update(ctx, func(tx *metadata.Tx) error {
		if rec.HostConfig.AutoRemove {
			if err := ignoreNotFound(tx.Delete(metadata.Containers, s.runningNamespace(), rec.ID)); err != nil {
				return err
			}
		}
		return tx.Delete(metadata.Containers, s.cfg.Namespace, rec.ID)
	})
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// planNetworks is the set of networks that a container wants, by name, with its network mode's always among them.
func (s *Service) planNetworks(hc *types.HostConfig, nc *netapi.NetworkingConfig) (map[string]*netapi.EndpointSettings, error) {
	if hc.NetworkMode.IsContainer() {
		return nil, nil
	}
	out := map[string]*netapi.EndpointSettings{}
	if nc != nil {
		for name, e := range nc.EndpointsConfig {
			if name == netapi.NetworkDefault || name == "" {
				name = netapi.NetworkBridge
			}
			if s.cfg.BridgeOff && name == netapi.NetworkBridge {
				continue
			}
			n, err := s.cfg.Network.Network(name)
			if err != nil {
				return nil, unknownNetwork(name)
			}
			if err := checkEndpoint(n.Name, e); err != nil {
				return nil, err
			}
			out[n.Name] = e.Copy()
		}
	}
	mode := string(hc.NetworkMode)
	n, err := s.cfg.Network.Network(mode)
	if err != nil {
		return nil, unknownNetwork(mode)
	}
	if out[n.Name] == nil {
		out[n.Name] = &netapi.EndpointSettings{}
	}
	for _, e := range out {
		if len(out) > 1 && (hc.NetworkMode.IsHost() || hc.NetworkMode.IsNone()) && e != nil {
			return nil, errdefs.InvalidArgument("container cannot be connected to network endpoints besides %s", mode)
		}
	}
	return out, nil
}

// unknownNetwork is not a "not found": the clients would take that for the image, and pull it.
func unknownNetwork(name string) error {
	return errdefs.InvalidArgument("network %s not found: `network create %s` makes it, `network ls` lists those that are there", name, name)
}

// checkEndpoint validates what a client wants of an endpoint.
func checkEndpoint(name string, e *netapi.EndpointSettings) error {
	if e == nil {
		return nil
	}
	userDefined := types.NetworkMode(name).IsUserDefined()
	if e.IPAMConfig != nil && (e.IPAMConfig.IPv4Address.IsValid() || e.IPAMConfig.IPv6Address.IsValid()) && !userDefined {
		return errdefs.InvalidArgument("invalid endpoint settings: user specified IP address is supported on user defined networks only")
	}
	if len(e.Aliases) > 0 && !userDefined {
		return errdefs.InvalidArgument("invalid endpoint settings: network-scoped aliases are only supported for user-defined networks")
	}
	return nil
}

// validHealth tells whether a record asks for health checks.
func (r *Record) validHealth() bool { return health.Enabled(r.Config.Healthcheck) }
