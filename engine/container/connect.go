package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/cleanup"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network"
)

func forbidden(format string, a ...any) error {
	return errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf(format, a...))
}

// Connect connects a container to one more network; a running one gets the interface at once.
func (s *Service) Connect(ctx context.Context, ref string, n network.Network, settings *netapi.EndpointSettings) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	if settings == nil {
		settings = &netapi.EndpointSettings{}
	}
	if err := checkEndpoint(n.Name, settings); err != nil {
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	v := c.view()
	mode := v.HostConfig.NetworkMode
	switch {
	case mode.IsHost() || n.Driver == "host":
		return forbidden("container cannot be disconnected from host network or connected to host network")
	case mode.IsContainer():
		return forbidden("container sharing network namespace with another container or host cannot be connected to any other network")
	case n.Driver == "none":
		return forbidden("container cannot be connected to network endpoints and to %s", n.Name)
	case v.Networks[n.Name] != nil:
		return forbidden("endpoint with name %s already exists in network %s", v.Name, n.Name)
	}
	networks := maps.Clone(v.Networks)
	if networks == nil {
		networks = map[string]*netapi.EndpointSettings{}
	}
	if mode.IsNone() {
		delete(networks, string(mode))
	}
	networks[n.Name] = settings.Copy()
	run := v.Run
	var undo cleanup.Stack
	defer undo.Run(ctx, nil)
	if v.alive() {
		conn := connection{network: n, settings: settings, index: freeIndex(run.Endpoints, cmp.Or(n.Interfaces, "eth"))}
		conn.first = s.outranks(&v, n, settings)
		var taken network.Families
		for _, e := range run.Endpoints {
			taken.Four, taken.Six = taken.Four || e.Gateway.IsValid(), taken.Six || e.Gateway6.IsValid()
		}
		conn.lead(&taken)
		e, err := s.plug(ctx, &v, conn, &undo)
		if err != nil {
			return err
		}
		run.Endpoints = append(slices.Clone(run.Endpoints), e)
		after := v.Record
		after.Networks = networks
		if err := s.resolveRunning(ctx, &after, v.Run.Pid); err != nil {
			return err
		}
	}
	hc := *v.HostConfig
	if mode.IsNone() {
		hc.NetworkMode = types.NetworkMode(n.Name)
	}
	if err := s.rewire(ctx, c, networks, &hc, run); err != nil {
		return err
	}
	undo.Release()
	if v.alive() {
		s.networkEvent(events.ActionConnect, n.ID, v.ID)
	}
	return nil
}

// freeIndex is the lowest number of an interface of that prefix that a container does not have.
func freeIndex(endpoints []network.Endpoint, prefix string) int {
	for i := 0; ; i++ {
		name := prefix + strconv.Itoa(i)
		if !slices.ContainsFunc(endpoints, func(e network.Endpoint) bool { return e.Interface == name }) {
			return i
		}
	}
}

// outranks tells whether a new connection's gateway goes before those of the networks that a running container has: by a
// higher priority.
func (s *Service) outranks(v *view, n network.Network, settings *netapi.EndpointSettings) bool {
	if n.Internal {
		return false
	}
	for name, e := range v.Networks {
		have := 0
		if e != nil {
			have = e.GwPriority
		}
		if other, err := s.cfg.Network.Network(name); err == nil && !other.Internal && have >= settings.GwPriority {
			return false
		}
	}
	return true
}

// plug makes an endpoint in the network namespace of a running container.
func (s *Service) plug(ctx context.Context, v *view, conn connection, undo *cleanup.Stack) (network.Endpoint, error) {
	netns, err := os.Open(filepath.Join("/proc", strconv.Itoa(v.Run.Pid), "ns", "net"))
	if err != nil {
		return network.Endpoint{}, errdefs.Conflict("container %s is not running: %w", v.ID, err)
	}
	defer func() { _ = netns.Close() }()
	e, err := s.cfg.Network.Reserve(ctx, conn.request(&v.Record))
	if err != nil {
		return e, fmt.Errorf("network %s: connect: %w", conn.network.Name, err)
	}
	undo.Add(func(ctx context.Context) error { return s.cfg.Network.Detach(ctx, e) })
	// The operation lock is held, so the exit of this very run is not yet handled; but the process may have ended and
	// its pid may be another's: then the task service knows no running process any more.
	if st, err := s.cfg.Processes.Status(ctx, s.cfg.Namespace, v.ID, ""); err != nil || st.Pid != v.Run.Pid || st.State == "stopped" {
		return e, errors.Join(errdefs.Conflict("container %s is not running", v.ID), err)
	}
	if err := s.cfg.Network.Attach(ctx, e, netns); err != nil {
		return e, fmt.Errorf("network %s: connect: %w", conn.network.Name, err)
	}
	return e, nil
}

// rewire records a changed set of networks and writes the hosts file of a running container anew.
func (s *Service) rewire(ctx context.Context, c *Container, networks map[string]*netapi.EndpointSettings, hc *types.HostConfig, run running) error {
	rec := c.record()
	rec.Networks, rec.HostConfig, rec.UpdatedAt = networks, hc, time.Now().UTC()
	if err := s.save(ctx, &rec); err != nil {
		return fmt.Errorf("container %s: %w", rec.ID, err)
	}
	alive := c.phaseAlive()
	if alive {
		if err := s.saveRun(ctx, rec.ID, run); err != nil {
			return fmt.Errorf("container %s: %w", rec.ID, err)
		}
	}
	c.set(func() {
		c.rec.Networks, c.rec.HostConfig, c.rec.UpdatedAt = networks, hc, rec.UpdatedAt
		if alive {
			c.run.Endpoints = run.Endpoints
		}
	})
	if alive {
		_, err := s.writeFiles(&rec, run.Endpoints)
		return err
	}
	return nil
}

// Disconnect takes a container off a network; force makes a container that is not there no error.
func (s *Service) Disconnect(ctx context.Context, ref string, n network.Network, force bool) error {
	c, err := s.index.find(ref)
	if err != nil {
		if force && errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	v := c.view()
	if n.Driver == "host" || v.HostConfig.NetworkMode.IsHost() {
		return forbidden("container cannot be disconnected from host network or connected to host network")
	}
	if _, ok := v.Networks[n.Name]; !ok {
		if force {
			return nil
		}
		return forbidden("container %s is not connected to network %s", v.ID, n.Name)
	}
	networks := maps.Clone(v.Networks)
	delete(networks, n.Name)
	run := v.Run
	run.Endpoints = slices.DeleteFunc(slices.Clone(run.Endpoints), func(e network.Endpoint) bool { return e.Network == n.ID })
	for _, e := range v.Run.Endpoints {
		if e.Network == n.ID && v.alive() {
			if err := s.unplug(ctx, &v, e); err != nil {
				return fmt.Errorf("network %s: disconnect: %w", n.Name, err)
			}
		}
	}
	if err := s.rewire(ctx, c, networks, v.HostConfig, run); err != nil {
		return err
	}
	if v.alive() {
		s.networkEvent(events.ActionDisconnect, n.ID, v.ID)
	}
	return nil
}

// unplug removes an endpoint from the network namespace of a running container.
func (s *Service) unplug(ctx context.Context, v *view, e network.Endpoint) error {
	netns, err := os.Open(filepath.Join("/proc", strconv.Itoa(v.Run.Pid), "ns", "net"))
	if err != nil {
		return s.cfg.Network.Detach(ctx, e) // it has just ended
	}
	defer func() { _ = netns.Close() }()
	return s.cfg.Network.Disconnect(ctx, e, netns)
}
