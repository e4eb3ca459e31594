package daemon

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/engine/container"
	engineimage "github.com/conex-containers/conex/engine/image"
	enginenetwork "github.com/conex-containers/conex/engine/network"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/engine/system"
	"github.com/conex-containers/conex/engine/volume"
	"github.com/conex-containers/conex/linux/capability"
	"github.com/conex-containers/conex/manager/hostmount"
	"github.com/conex-containers/conex/network/ipam"
	"github.com/conex-containers/conex/server/docker"
)

// openEngine makes the engine and adopts what runs: containers first, then the network out of their endpoints, then
// the restarts that a boot asks for.
func (p *parts) openEngine(ctx context.Context) (err error) {
	c := p.config
	if p.volumes, err = volume.Open(ctx, volume.Config{
		Root: filepath.Join(c.DataRoot, "volumes"), Namespace: dockerNamespace, Durable: p.durable, Volatile: p.volatile,
		Mounter: hostmount.Host{}, PluginDirs: volume.DefaultPluginDirs(), SubpathDir: filepath.Join(c.ExecRoot, "subpath"),
	}); err != nil {
		return err
	}
	config, err := p.containerConfig()
	if err != nil {
		return err
	}
	if err := p.snapshots.Points(container.MountPoints()...); err != nil {
		p.log.Warn("mount points are made in each container", "err", err)
	}
	p.containers = container.New(config)
	p.onClose("containers", plain(p.containers.Close))
	endpoints, err := p.containers.Open(ctx)
	if err != nil {
		return err
	}
	networks := enginenetwork.New(enginenetwork.Config{
		Namespace: dockerNamespace, Manager: p.network, Containers: p.containers, Durable: p.durable, Events: p.events,
	})
	if err := networks.Open(ctx, endpoints); err != nil {
		return err
	}
	if err := p.network.Guard(); err != nil {
		p.log.Warn("networks that somebody else breaks heal at the next change only", "err", err)
	}
	images := engineimage.New(engineimage.Config{
		Namespace: dockerNamespace, Store: p.images, Mover: p.images, Layers: p.images, Copier: p.images, Containers: p.containers, Snapshots: p.snapshots,
		StorageDriver: p.storageDriver(),
	})
	volumes := volume.NewService(p.volumes, p.events)
	p.describe = func(c *Config) (*system.Service, error) {
		st, err := p.static(c, config.Host)
		return system.New(system.Config{Static: st, Containers: p.containers, Images: images, Volumes: volumes, Events: p.events}), err
	}
	described, err := p.describe(c)
	if err != nil {
		return err
	}
	p.system.now.Store(described)
	p.backend = docker.Backend{
		Lifecycle: p.containers, Changes: p.containers, Views: p.containers, Streams: p.containers, Archives: p.containers,
		Images: images, Layers: images, Transfers: images, Networks: networks, Volumes: volumes, System: &p.system,
	}
	p.containers.Resume(ctx)
	p.collector.Trigger(ctx)
	return nil
}

// initBinary has the init that `--init` runs as process 1 of a container.
const initBinary = "conex-runtime"

// containerConfig is the container service's part of the configuration.
func (p *parts) containerConfig() (container.Config, error) {
	c := p.config
	init, err := binary(initBinary)
	if err != nil {
		return container.Config{}, err
	}
	seccomp, err := c.seccompProfile()
	if err != nil {
		return container.Config{}, err
	}
	limits := map[string]*types.Ulimit{}
	for name, u := range c.Ulimits {
		limits[name] = &types.Ulimit{Name: u.Name, Hard: u.Hard, Soft: u.Soft}
	}
	return container.Config{
		Namespace: dockerNamespace, DataRoot: c.DataRoot, ExecRoot: c.ExecRoot,
		Tasks: p.tasks, Processes: p.tasks, Images: engineimage.Source{Store: p.images}, Snapshots: p.snapshots, OpenRoot: p.openRoot,
		LiveRoot: p.tasks.Root, TaskView: p.tasks.View, NetView: p.network.Explain, Republish: p.network.Republish, Committer: p.images,
		Durable: p.durable, Volatile: p.volatile, Network: p.network, Volumes: p.volumes, Attachments: p.volumes, Events: p.events, Log: p.log,
		Spec: spec.Defaults{
			CgroupParent: p.target.CgroupParent, InitPath: init, Init: c.Init, ShmSize: c.ShmSize, Ulimits: limits,
			NoNewPrivileges: c.NoNewPrivileges, SeccompProfile: seccomp,
		},
		Host: spec.DetectHost(capability.All()), Runtimes: slices.Sorted(maps.Keys(c.Runtimes)), DefaultRuntime: c.DefaultRuntime, BridgeOff: c.Bridge == "none",
		StorageDriver: p.storageDriver(), LogDriver: c.LogDriver, LogOpts: c.LogOptions, CDIDirs: c.cdiDirs(), IpcMode: types.IpcMode(c.IpcMode), CgroupnsMode: types.CgroupnsMode(c.CgroupnsMode), HostGateway: c.HostGateway,
		DNS: c.DNS, DNSOptions: c.DNSOptions, DNSSearch: c.DNSSearch,
	}, nil
}

// storageDriver is the snapshots' driver by the name that Docker's users know.
func (p *parts) storageDriver() string {
	if p.snapshots.Driver() == "overlay" {
		return "overlay2"
	}
	return p.snapshots.Driver()
}

// openRoot opens a container's root file system for the engine.
func (p *parts) openRoot(ctx context.Context, key string) (container.Root, error) {
	return p.snapshots.Root(ctx, key)
}

func ipamPool(pool Pool) ipam.Pool { return ipam.Pool{Base: pool.Base, Size: pool.Size} }

// collect runs the garbage collector and tells the bytes that it freed.
func (p *parts) collect(ctx context.Context) (int64, error) {
	r, err := p.collector.Run(ctx)
	return r.Bytes, err
}

// reload takes over what can change while the daemon runs.
func (p *parts) reload(c *Config) error {
	described, err := p.describe(c)
	if err != nil {
		return err
	}
	p.registry.SetTrust(c.InsecureRegistries, c.Mirrors)
	p.system.now.Store(described)
	p.config = c
	p.events.Publish(events.DaemonEventType, events.ActionReload, "", map[string]string{"name": p.instance})
	return nil
}
