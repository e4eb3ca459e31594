package daemon

import (
	"context"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/events"
	types "github.com/moby/moby/api/types/system"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/engine/spec"
	"github.com/conex-containers/conex/engine/system"
)

// liveSystem is the engine's system part, which a reload of the configuration replaces as a whole: what it tells
// then is of one configuration.
type liveSystem struct {
	now atomic.Pointer[system.Service]
}

// Info tells of the engine as it is configured now.
func (l *liveSystem) Info(ctx context.Context) (types.Info, error) { return l.now.Load().Info(ctx) }

// Version tells the engine's version.
func (l *liveSystem) Version(ctx context.Context) (types.VersionResponse, error) {
	return l.now.Load().Version(ctx)
}

// DiskUsage tells what takes space.
func (l *liveSystem) DiskUsage(ctx context.Context, kinds []string, verbose bool) (types.DiskUsage, error) {
	return l.now.Load().DiskUsage(ctx, kinds, verbose)
}

// Events tells what happens.
func (l *liveSystem) Events(ctx context.Context, since, until time.Time, f docker.Filters, emit func(events.Message) error) error {
	return l.now.Load().Events(ctx, since, until, f, emit)
}

// static is what the system part tells of the daemon's configuration.
func (p *parts) static(c *Config, host spec.Host) (system.Static, error) {
	id, err := system.EngineID(filepath.Join(c.DataRoot, "engine-id"))
	if err != nil {
		return system.Static{}, err
	}
	init, err := binary(initBinary)
	if err != nil {
		return system.Static{}, err
	}
	st := system.Static{
		ID: id, Version: p.product, DataRoot: c.DataRoot, Driver: p.storageDriver(), LogDriver: c.LogDriver,
		CgroupV2: host.CgroupV2, SwapLimit: host.SwapLimit, Debug: c.Debug, Experimental: c.Experimental, Labels: c.Labels,
		Runtimes: map[string]types.RuntimeWithStatus{"conex": {Runtime: types.Runtime{Path: "conex"}}}, DefaultRuntime: c.DefaultRuntime,
		InitBinary: init, Mirrors: c.Mirrors, Insecure: c.InsecureRegistries,
		HTTPProxy: c.HTTPProxy, HTTPSProxy: c.HTTPSProxy, NoProxy: c.NoProxy, NoNewPrivileges: c.NoNewPrivileges, CDIDirs: c.cdiDirs(),
	}
	st.GitCommit, st.BuildTime = revision()
	for name, r := range c.Runtimes {
		st.Runtimes[name] = types.RuntimeWithStatus{Runtime: types.Runtime{Path: r.Path, Args: r.Args}}
	}
	for _, pool := range c.Pools {
		st.AddressPools = append(st.AddressPools, types.NetworkAddressPool{Base: pool.Base, Size: pool.Size})
	}
	if c.IPTables {
		st.Firewall = "nftables"
	}
	return st, nil
}

// revision is the commit that this binary was built from and its time, as Go records them.
func revision() (commit, at string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.time":
			at = s.Value
		}
	}
	return commit, at
}
