package container

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network"
)

// Republish changes the published ports of an attached endpoint (network).
type Republish func(ctx context.Context, endpoint string, r network.Request) (network.Endpoint, error)

// ContainerPorts publishes ports of a container and withdraws others, of a running one at once: connections through
// ports that stay go on.
func (s *Service) ContainerPorts(ctx context.Context, ref string, change docker.PortChange) error {
	c, err := s.index.find(ref)
	if err != nil {
		return err
	}
	if len(change.Publish)+len(change.Withdraw) == 0 {
		return errdefs.InvalidArgument("no port is named: give those to publish or to withdraw")
	}
	if err := checkPorts(change.Publish); err != nil {
		return err
	}
	c.op.lock()
	defer c.op.unlock()
	v := c.view()
	switch mode := v.HostConfig.NetworkMode; {
	case v.State == removed:
		return errdefs.Conflict("container %s is being removed", v.Name)
	case mode.IsHost() || mode.IsContainer() || mode.IsNone():
		return errdefs.Conflict("container %s has no network of its own (%s): no port of it can be published", v.Name, mode)
	}
	ports, err := rebind(&v, change)
	if err != nil {
		return fmt.Errorf("container %s: %w", v.Name, err)
	}
	rec, hc := v.Record, *v.HostConfig
	hc.PortBindings = ports
	rec.HostConfig, rec.UpdatedAt = &hc, time.Now().UTC()
	run := v.Run
	if v.alive() {
		if run.Endpoints, err = s.republish(ctx, &rec, run.Endpoints); err != nil {
			return err
		}
		c.set(func() { c.run.Endpoints = run.Endpoints })
		if err := s.saveRun(ctx, rec.ID, run); err != nil {
			return fmt.Errorf("container %s: %w", rec.ID, err)
		}
	}
	if err := s.save(ctx, &rec); err != nil {
		return fmt.Errorf("container %s: %w", rec.ID, err)
	}
	c.set(func() { c.rec.HostConfig, c.rec.UpdatedAt = rec.HostConfig, rec.UpdatedAt })
	s.publish(&rec, events.ActionUpdate)
	return nil
}

// rebind is the container's port bindings after the change.
func rebind(v *view, change docker.PortChange) (netapi.PortMap, error) {
	ports := maps.Clone(v.HostConfig.PortBindings)
	if ports == nil {
		ports = netapi.PortMap{}
	}
	for p, gone := range change.Withdraw {
		have, ok := ports[p]
		if !ok {
			return nil, errdefs.NotFound("port %s is not published; see conex port", p)
		}
		have = slices.Clone(have)
		for _, b := range gone {
			if b.HostPort == "" {
				have = nil
				break
			}
			i := slices.IndexFunc(have, func(h netapi.PortBinding) bool {
				return h.HostPort == b.HostPort && (!b.HostIP.IsValid() || h.HostIP == b.HostIP)
			})
			if i < 0 && v.granted(p, b) {
				i = slices.IndexFunc(have, func(h netapi.PortBinding) bool { return h.HostPort == "" || h.HostPort == "0" })
			}
			if i < 0 {
				return nil, errdefs.NotFound("port %s is not published as %s; see conex port", p, b.HostPort)
			}
			have = slices.Delete(have, i, i+1)
		}
		if ports[p] = have; len(have) == 0 {
			delete(ports, p)
		}
	}
	for p, more := range change.Publish {
		if len(more) == 0 {
			more = []netapi.PortBinding{{}}
		}
		for _, b := range more {
			if b.HostPort != "" && slices.Contains(ports[p], b) {
				return nil, errdefs.Conflict("port %s is published as %s already", p, b.HostPort)
			}
			ports[p] = append(slices.Clone(ports[p]), b)
		}
	}
	return ports, nil
}

// granted tells whether the host's port of b was given to the container's port p, which asked for any.
func (v *view) granted(p netapi.Port, b netapi.PortBinding) bool {
	for _, e := range v.Run.Endpoints {
		for _, g := range e.Ports {
			if g.Proto == string(p.Proto()) && g.ContainerPort == p.Num() && strconv.Itoa(int(g.HostPort)) == b.HostPort {
				return true
			}
		}
	}
	return false
}

// republish changes the endpoints that carry the container's ports. When one cannot, those before it get theirs back.
func (s *Service) republish(ctx context.Context, rec *Record, endpoints []network.Endpoint) ([]network.Endpoint, error) {
	list, err := s.connections(rec)
	if err != nil {
		return endpoints, err
	}
	out := slices.Clone(endpoints)
	for _, conn := range list {
		i := slices.IndexFunc(out, func(e network.Endpoint) bool { return e.Network == conn.network.ID })
		if i < 0 || conn.outside == (network.Families{}) {
			continue
		}
		e, err := s.cfg.Republish(ctx, out[i].ID, conn.request(rec))
		if err != nil {
			return endpoints, err
		}
		out[i] = e
	}
	return out, nil
}
