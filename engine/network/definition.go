package network

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	types "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/network"
)

// wanted translates a request into a definition.
func wanted(req types.CreateRequest) (network.Network, error) {
	n := network.Network{
		Name: req.Name, Driver: req.Driver, Internal: req.Internal, EnableIPv4: true, ICC: true, Masquerade: true, Options: req.Options,
	}
	switch {
	case predefined(req.Name):
		return n, errdefs.With(errdefs.ErrPermissionDenied, fmt.Errorf("operation is not permitted on predefined %s network", req.Name))
	case strings.TrimSpace(req.Name) == "":
		return n, errdefs.InvalidArgument("invalid network name: name is empty")
	case !slices.Contains([]string{"", network.DriverBridge, network.DriverMacvlan, network.DriverIPvlan}, req.Driver):
		return n, errdefs.NotFound("could not find plugin %s in v1 plugin registry: plugin not found: the drivers bridge, macvlan and ipvlan are there", req.Driver)
	case req.Scope != "" && req.Scope != "local":
		return n, errdefs.InvalidArgument("invalid scope %q: networks here are local", req.Scope)
	case req.ConfigOnly || req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return n, errdefs.NotImplemented("config-only networks are not implemented")
	case req.Ingress:
		return n, errdefs.InvalidArgument("cannot create an ingress network outside a swarm")
	}
	n.Driver = cmp.Or(req.Driver, network.DriverBridge)
	if req.EnableIPv4 != nil {
		n.EnableIPv4 = *req.EnableIPv4
	}
	if req.EnableIPv6 != nil {
		n.EnableIPv6 = *req.EnableIPv6
	}
	read := bridgeOptions
	if n.Driver != network.DriverBridge {
		read = childOptions
	}
	if err := read(&n, req.Options); err != nil {
		return n, err
	}
	return n, subnets(&n, req.IPAM)
}

// bridgeOptions reads the options of the bridge driver. Options of other owners are kept as they are; one that looks like
// Docker's and is not known is refused, because it would have no effect.
func bridgeOptions(n *network.Network, options map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(options)) {
		value := options[key]
		var err error
		switch key {
		case "com.docker.network.bridge.name":
			n.Bridge = value
		case "com.docker.network.bridge.enable_icc":
			n.ICC, err = strconv.ParseBool(value)
		case "com.docker.network.bridge.enable_ip_masquerade":
			n.Masquerade, err = strconv.ParseBool(value)
		case "com.docker.network.bridge.host_binding_ipv4":
			n.HostIP, err = netip.ParseAddr(value)
		case "com.docker.network.bridge.gateway_mode_ipv4":
			n.Mode4 = network.GatewayMode(value)
		case "com.docker.network.bridge.gateway_mode_ipv6":
			n.Mode6 = network.GatewayMode(value)
		case "com.docker.network.container_iface_prefix":
			n.Interfaces = value
		case "com.docker.network.driver.mtu":
			n.MTU, err = strconv.Atoi(value)
		case "com.docker.network.enable_ipv4":
			n.EnableIPv4, err = strconv.ParseBool(value)
		case "com.docker.network.enable_ipv6":
			n.EnableIPv6, err = strconv.ParseBool(value)
		case "conex.network.spoofing":
			n.Spoofing, err = strconv.ParseBool(value)
		case "com.docker.network.bridge.default_bridge":
		default:
			if strings.HasPrefix(key, "com.docker.network.") {
				return errdefs.InvalidArgument("network option %s is not known for the driver %s: leave it out", key, n.Driver)
			}
		}
		if err != nil {
			return errdefs.InvalidArgument("network option %s: invalid value %q", key, value)
		}
	}
	return nil
}

// childOptions reads the options of macvlan and ipvlan.
func childOptions(n *network.Network, options map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(options)) {
		value := options[key]
		var err error
		switch key {
		case "parent":
			n.Parent = value
		case n.Driver + "_mode":
			n.Mode = value
		case "ipvlan_flag":
			n.Flag = value
		case "com.docker.network.container_iface_prefix":
			n.Interfaces = value
		case "com.docker.network.driver.mtu":
			n.MTU, err = strconv.Atoi(value)
		default:
			return errdefs.InvalidArgument("network option %s is not known for the driver %s: leave it out", key, n.Driver)
		}
		if err != nil {
			return errdefs.InvalidArgument("network option %s: invalid value %q", key, value)
		}
	}
	return nil
}

func subnets(n *network.Network, ipam *types.IPAM) error {
	if ipam == nil {
		return nil
	}
	if ipam.Driver != "" && ipam.Driver != "default" {
		return errdefs.NotFound("could not find IPAM driver %s: only the driver default is there", ipam.Driver)
	}
	for _, c := range ipam.Config {
		if !c.Subnet.IsValid() {
			if c.Gateway.IsValid() || c.IPRange.IsValid() {
				return errdefs.InvalidArgument("invalid network config: a gateway or range needs a subnet")
			}
			continue
		}
		if c.Subnet != c.Subnet.Masked() {
			return errdefs.InvalidArgument("invalid network config:\ninvalid subnet %s: it should be %s", c.Subnet, c.Subnet.Masked())
		}
		n.Subnets = append(n.Subnets, network.Subnet{Prefix: c.Subnet, Range: c.IPRange, Gateway: c.Gateway, Aux: c.AuxAddress})
	}
	return nil
}
