package network

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	types "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/filter"
	"github.com/conex-containers/conex/network"
)

// NetworkList lists the networks by name.
func (s *Service) NetworkList(_ context.Context, f docker.Filters) ([]types.Summary, error) {
	if err := filter.Known(f, "dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	dangling, err := filter.Bool(f, "dangling", false)
	if err != nil {
		return nil, err
	}
	for _, t := range f.Get("type") {
		if t != "custom" && t != "builtin" {
			return nil, errdefs.InvalidArgument("invalid filter: 'type'='%s'", t)
		}
	}
	out := []types.Summary{}
	for _, n := range s.cfg.Manager.Networks() {
		v := s.view(n)
		if !matches(f, &v) {
			continue
		}
		if len(f["dangling"]) > 0 {
			used := predefined(n.Name) || len(s.cfg.Containers.OnNetwork(n.Name, n.ID)) > 0
			if used == dangling {
				continue
			}
		}
		out = append(out, types.Summary{Network: v})
	}
	return out, nil
}

func matches(f docker.Filters, v *types.Network) bool {
	one := func(key string, ok func(string) bool) bool {
		values := f.Get(key)
		return len(values) == 0 || slices.ContainsFunc(values, ok)
	}
	kind := "custom"
	if predefined(v.Name) {
		kind = "builtin"
	}
	return one("driver", func(x string) bool { return x == v.Driver }) &&
		one("id", func(x string) bool { return strings.HasPrefix(v.ID, x) }) &&
		one("name", func(x string) bool { return strings.Contains(v.Name, x) }) &&
		one("scope", func(x string) bool { return x == v.Scope }) &&
		one("type", func(x string) bool { return x == kind }) &&
		filter.Labels(f, v.Labels)
}

// NetworkInspect shows one network with the containers that are connected to it.
func (s *Service) NetworkInspect(_ context.Context, ref string) (types.Inspect, error) {
	n, err := s.cfg.Manager.Network(ref)
	if err != nil {
		return types.Inspect{}, err
	}
	out := types.Inspect{Network: s.view(n), Containers: map[string]types.EndpointResource{}}
	for _, e := range s.cfg.Manager.Endpoints() {
		if e.Network != n.ID {
			continue
		}
		r := types.EndpointResource{Name: s.cfg.Containers.Name(e.Container), EndpointID: e.ID, IPv4Address: e.Address, IPv6Address: e.Address6}
		_ = r.MacAddress.UnmarshalText([]byte(e.MAC)) // ours: always well-formed
		out.Containers[e.Container] = r
	}
	out.Status = s.status(n)
	return out, nil
}

// status counts the addresses of the network's subnets.
func (s *Service) status(n network.Network) *types.Status {
	out := &types.Status{IPAM: types.IPAMStatus{Subnets: types.SubnetStatuses{}}}
	for _, u := range s.cfg.Manager.Usage(n.ID) {
		out.IPAM.Subnets[u.Subnet] = types.SubnetStatus{IPsInUse: u.Taken, DynamicIPsAvailable: u.Free}
	}
	return out
}

// view is a network as Docker shows it.
func (s *Service) view(n network.Network) types.Network {
	r := s.record(n.ID)
	v := types.Network{
		Name: n.Name, ID: n.ID, Created: r.CreatedAt, Scope: "local", Driver: n.Driver, EnableIPv4: n.EnableIPv4,
		EnableIPv6: n.EnableIPv6, Internal: n.Internal, Attachable: r.Attachable, Options: maps.Clone(n.Options), Labels: maps.Clone(r.Labels),
		IPAM: types.IPAM{Driver: "default", Options: r.IPAMOptions, Config: []types.IPAMConfig{}},
	}
	if v.Driver == "none" {
		v.Driver = "null"
	}
	if v.Options == nil {
		v.Options = map[string]string{}
	}
	if n.Name == types.NetworkBridge {
		v.Options["com.docker.network.bridge.default_bridge"] = "true"
		v.Options["com.docker.network.bridge.enable_icc"] = strconv.FormatBool(n.ICC)
		v.Options["com.docker.network.bridge.enable_ip_masquerade"] = strconv.FormatBool(n.Masquerade)
		v.Options["com.docker.network.bridge.name"] = n.Bridge
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	for _, sub := range n.Subnets {
		v.IPAM.Config = append(v.IPAM.Config, types.IPAMConfig{Subnet: sub.Prefix, IPRange: sub.Range, Gateway: sub.Gateway, AuxAddress: sub.Aux})
	}
	return v
}
