package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/conex-containers/conex/daemon/audit"
	"github.com/conex-containers/conex/engine/container"
	engineevent "github.com/conex-containers/conex/engine/event"
	engineimage "github.com/conex-containers/conex/engine/image"
	"github.com/conex-containers/conex/engine/system"
	"github.com/conex-containers/conex/engine/volume"
	"github.com/conex-containers/conex/linux/cgroup"
	"github.com/conex-containers/conex/linux/inode"
	"github.com/conex-containers/conex/manager/content"
	"github.com/conex-containers/conex/manager/event"
	"github.com/conex-containers/conex/manager/gc"
	"github.com/conex-containers/conex/manager/image"
	"github.com/conex-containers/conex/manager/lease"
	"github.com/conex-containers/conex/manager/metadata"
	"github.com/conex-containers/conex/manager/policy"
	"github.com/conex-containers/conex/manager/registry"
	"github.com/conex-containers/conex/manager/snapshot"
	"github.com/conex-containers/conex/manager/snapshot/native"
	"github.com/conex-containers/conex/manager/snapshot/overlay"
	"github.com/conex-containers/conex/manager/task"
	"github.com/conex-containers/conex/network"
	"github.com/conex-containers/conex/server/docker"
)

// dockerNamespace is the namespace of everything that comes through Docker's door.
const dockerNamespace = "moby"

// parts are what the daemon is made of, in the order in which they are made.
type parts struct {
	config   *Config
	product  string
	log      *slog.Logger
	instance string
	target   audit.Target

	durable, volatile *metadata.DB
	content           *content.Store
	snapshots         *snapshot.Store
	leases            *lease.Manager
	collector         *gc.Collector
	registry          *registry.Client
	images            *image.Service
	events            *engineevent.Bus
	network           *network.Service
	tasks             *task.Service
	volumes           *volume.Store
	containers        *container.Service
	system            liveSystem
	describe          func(*Config) (*system.Service, error) // of the engine's parts, for a configuration
	backend           docker.Backend
	listeners         []net.Listener

	undo []closer
}

// closer ends one part.
type closer struct {
	name string
	end  func(context.Context) error
}

// build makes all parts, floor by floor. What was made before a failure is closed again.
func build(ctx context.Context, c *Config, product string, log *slog.Logger) (_ *parts, err error) {
	p := &parts{config: c, product: product, log: log, instance: Instance(c.DataRoot), target: target(c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close(context.WithoutCancel(ctx)))
		}
	}()
	for _, floor := range []struct {
		name string
		make func(context.Context) error
	}{
		{"directories", p.makeDirectories},
		{"databases", p.openDatabases}, // their locks keep a second daemon away from all that follows
		{"sockets", p.openSockets},     // clients that come early wait until the doors are served
		{"content and snapshots", p.openStores},
		{"images", p.openImages},
		{"network", p.openNetwork},
		{"tasks", p.openTasks},
		{"engine", p.openEngine},
	} {
		if err := floor.make(ctx); err != nil {
			return nil, fmt.Errorf("start %s: %w", floor.name, err)
		}
	}
	return p, nil
}

// close ends the parts in the reverse order of their making. Containers are not touched.
func (p *parts) close(ctx context.Context) error {
	var failed error
	for _, c := range slices.Backward(p.undo) {
		if err := c.end(ctx); err != nil {
			failed = errors.Join(failed, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	p.undo = nil
	return failed
}

func (p *parts) onClose(name string, end func(context.Context) error) {
	p.undo = append(p.undo, closer{name, end})
}

// plain makes a closer's function of an ordinary Close.
func plain(end func() error) func(context.Context) error {
	return func(context.Context) error { return end() }
}

func (p *parts) makeDirectories(context.Context) error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{p.config.DataRoot, 0o711}, {p.config.ExecRoot, 0o711}, {filepath.Join(p.config.DataRoot, "containers"), 0o710}} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return err
		}
	}
	if err := inode.Spread(filepath.Join(p.config.DataRoot, "containers")); err != nil {
		return err
	}
	for env, value := range map[string]string{"HTTP_PROXY": p.config.HTTPProxy, "HTTPS_PROXY": p.config.HTTPSProxy, "NO_PROXY": p.config.NoProxy} {
		if value != "" {
			if err := os.Setenv(env, value); err != nil { // net/http reads them once, at its first request
				return err
			}
		}
	}
	return nil
}

func (p *parts) openDatabases(ctx context.Context) (err error) {
	if p.durable, err = metadata.Open(filepath.Join(p.config.DataRoot, audit.Durable), metadata.Options{}); err != nil {
		return err
	}
	p.onClose("durable database", plain(p.durable.Close))
	if p.volatile, err = metadata.Open(filepath.Join(p.config.ExecRoot, audit.Volatile), metadata.Options{Volatile: true}); err != nil {
		return err
	}
	p.onClose("volatile database", plain(p.volatile.Close))
	if !p.volatile.Fresh() {
		return nil
	}
	return container.Restore(ctx, p.config.ExecRoot, p.volatile, p.log)
}

// openSockets writes the pidfile and binds every socket, the private one of the audit among them.
func (p *parts) openSockets(context.Context) error {
	remove, err := writePidfile(p.config.Pidfile)
	if err != nil {
		return err
	}
	p.onClose("pidfile", func(context.Context) error { remove(); return nil })
	if p.listeners, err = listen(p.config); err != nil {
		return err
	}
	p.onClose("sockets", func(context.Context) error { return closeAll(p.listeners, socketPaths(p.config)) })
	private, err := listenUnix(debugSocket(p.config.ExecRoot), "0", 0o600)
	if err != nil {
		return err
	}
	p.listeners = append(p.listeners, private)
	return nil
}

func (p *parts) openStores(ctx context.Context) (err error) {
	if p.content, err = content.Open(filepath.Join(p.config.DataRoot, "content"), p.durable); err != nil {
		return err
	}
	p.onClose("content", plain(p.content.Close))
	drivers := []snapshot.Driver{overlay.New(), native.New(), overlay.NewEROFS()} // the last is for those that were made with it
	switch p.config.StorageDriver {
	case "":
	case "erofs":
		drivers = drivers[2:]
	default:
		drivers = drivers[:1]
	}
	if p.snapshots, err = snapshot.Open(filepath.Join(p.config.DataRoot, "snapshot"), p.durable, p.volatile, drivers...); err != nil {
		return err
	}
	p.onClose("snapshots", plain(p.snapshots.Close))
	p.leases = lease.New(p.volatile)
	if err := p.leases.EndAll(ctx); err != nil {
		return err
	}
	p.collector = gc.New(gc.Config{DB: p.durable, Volatile: p.volatile, Content: p.content, Snapshots: p.snapshots, Leases: p.leases})
	p.onClose("garbage collector", func(context.Context) error { p.collector.Close(); return nil })
	return nil
}

func (p *parts) openImages(context.Context) error {
	c := p.config
	exchange := event.NewExchange(event.Past)
	p.onClose("events", func(context.Context) error { exchange.Close(); return nil })
	p.events = engineevent.NewBus(exchange, dockerNamespace)
	p.registry = registry.New(registry.Config{Insecure: c.InsecureRegistries, Mirrors: c.Mirrors, CertDirs: c.RegistryDirs, Attempts: c.DownloadAttempts, UserAgent: "conex/" + p.product})
	p.images = image.New(image.Parts{
		Content: p.content, Snapshots: p.snapshots, DB: p.durable, Leases: p.leases, Registry: p.registry,
		Product:   p.product,
		Admission: &policy.Gate{File: c.SignaturePolicy, Verifiers: c.ImageVerifiers, Parse: image.PolicyReference},
		Downloads: c.MaxDownloads, Uploads: c.MaxUploads,
		Collect: p.collect, Notify: engineimage.Notifier(p.events, dockerNamespace),
	})
	return nil
}

func (p *parts) openNetwork(context.Context) (err error) {
	c := p.config
	config := network.Config{
		Instance: p.instance, FirewallOff: !c.IPTables, HostPolicy: c.FirewallPolicy == "host", ForwardOff: !c.IPForward, HostIP: c.HostIP,
		DefaultBridge: network.DefaultBridge{
			Off: c.Bridge == "none", Address: c.BIP, Range: c.FixedCIDR, Gateway: c.Gateway, MTU: c.MTU,
			ICCOff: !c.ICC, MasqueradeOff: !c.IPMasq,
			IPv6: c.IPv6, Address6: c.BIP6, Range6: c.FixedCIDR6, Gateway6: c.Gateway6,
		},
	}
	if c.Bridge != "none" {
		config.DefaultBridge.Name = c.Bridge
	}
	for _, pool := range c.Pools {
		config.Pools = append(config.Pools, ipamPool(pool))
	}
	if p.network, err = network.New(config, p.log); err != nil {
		return err
	}
	p.onClose("network", plain(p.network.Close))
	return nil
}

func (p *parts) openTasks(context.Context) error {
	shim, err := binary("conex-shim")
	if err != nil {
		return err
	}
	config := task.Config{ExecRoot: p.config.ExecRoot, ShimPath: shim, CgroupParent: p.target.CgroupParent, Log: p.log, Runtimes: map[string]task.Runtime{}}
	for name, r := range p.config.Runtimes {
		config.Runtimes[name] = task.Runtime{Path: r.Path, Args: r.Args}
	}
	if p.tasks, err = task.New(config); err != nil {
		return err
	}
	if parent := filepath.Join("/", p.target.CgroupParent); parent != "/" {
		if err := cgroup.Prepare(parent); err != nil {
			p.log.Warn("the containers' control group", "err", err) // each container says what it lacks
		}
		p.onClose("control groups", func(context.Context) error { return cgroup.Release(parent) })
	}
	p.onClose("tasks", plain(p.tasks.Close))
	return nil
}
