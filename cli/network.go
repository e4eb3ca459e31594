package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/cli/format"
	"github.com/conex-containers/conex/cli/spec"
	"github.com/conex-containers/conex/client"
)

type networkOptions struct {
	driver, scope, ipamDriver, configFrom string
	internal, ipv4, ipv6, attachable      bool
	ingress, configOnly                   bool
	labels, opts, ipamOpts, aux           spec.List
	subnets, ranges, gateways             []string
}

func networkCreateCommand(s *Session) *cobra.Command {
	var o networkOptions
	c := &cobra.Command{Use: "create [OPTIONS] NETWORK", Args: exactArgs(1), ValidArgsFunction: cobra.NoFileCompletions}
	f := c.Flags()
	o.labels.Check = spec.CheckLabel
	f.StringVarP(&o.driver, "driver", "d", "bridge", "Driver to manage the Network")
	f.VarP(&o.opts, "opt", "o", "Set driver specific options")
	f.Var(&o.labels, "label", "Set metadata on a network")
	f.BoolVar(&o.internal, "internal", false, "Restrict external access to the network")
	f.BoolVar(&o.ipv4, "ipv4", true, "Enable or disable IPv4 address assignment")
	f.BoolVar(&o.ipv6, "ipv6", false, "Enable or disable IPv6 address assignment")
	f.BoolVar(&o.attachable, "attachable", false, "Enable manual container attachment")
	f.BoolVar(&o.ingress, "ingress", false, "Create swarm routing-mesh network")
	f.BoolVar(&o.configOnly, "config-only", false, "Create a configuration only network")
	f.StringVar(&o.configFrom, "config-from", "", "The network from which to copy the configuration")
	f.StringVar(&o.scope, "scope", "", "Control the network's scope")
	f.StringVar(&o.ipamDriver, "ipam-driver", "default", "IP Address Management Driver")
	f.StringSliceVar(&o.subnets, "subnet", nil, "Subnet in CIDR format that represents a network segment")
	f.StringSliceVar(&o.ranges, "ip-range", nil, "Allocate container ip from a sub-range")
	f.StringSliceVar(&o.gateways, "gateway", nil, "IPv4 or IPv6 Gateway for the master subnet")
	f.Var(&o.aux, "aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
	f.Var(&o.ipamOpts, "ipam-opt", "Set IPAM driver specific options")
	c.RunE = func(c *cobra.Command, args []string) error {
		ipam, err := o.ipam()
		if err != nil {
			return err
		}
		req := network.CreateRequest{
			Name: args[0], Driver: o.driver, Scope: o.scope, IPAM: ipam, Internal: o.internal, Attachable: o.attachable,
			Ingress: o.ingress, ConfigOnly: o.configOnly, Options: o.opts.Map(), Labels: o.labels.Map(),
		}
		if f.Changed("ipv4") {
			req.EnableIPv4 = &o.ipv4
		}
		if f.Changed("ipv6") {
			req.EnableIPv6 = &o.ipv6
		}
		if o.configFrom != "" {
			req.ConfigFrom = &network.ConfigReference{Network: o.configFrom}
		}
		cl, err := s.Client()
		if err != nil {
			return err
		}
		r, err := cl.NetworkCreate(c.Context(), req)
		if err != nil {
			return err
		}
		if r.Warning != "" {
			_, _ = fmt.Fprintln(s.Err, "WARNING: "+r.Warning)
		}
		_, err = fmt.Fprintln(s.Out, r.ID)
		return err
	}
	return c
}

// ipam puts each range, gateway and auxiliary address to the subnet that holds it.
func (o *networkOptions) ipam() (*network.IPAM, error) {
	i := &network.IPAM{Driver: o.ipamDriver, Options: o.ipamOpts.Map(), Config: []network.IPAMConfig{}}
	if len(o.subnets) < len(o.ranges) || len(o.subnets) < len(o.gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	for _, s := range o.subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("invalid subnet %s: %w", s, err)
		}
		for _, other := range i.Config {
			if other.Subnet.Overlaps(p) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
		i.Config = append(i.Config, network.IPAMConfig{Subnet: p, AuxAddress: map[string]netip.Addr{}})
	}
	find := func(a netip.Addr) (*network.IPAMConfig, bool) {
		n := slices.IndexFunc(i.Config, func(c network.IPAMConfig) bool { return c.Subnet.Contains(a) })
		if n < 0 {
			return nil, false
		}
		return &i.Config[n], true
	}
	for _, s := range o.ranges {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("invalid ip-range %s: %w", s, err)
		}
		c, ok := find(p.Addr())
		if !ok {
			return nil, fmt.Errorf("no matching subnet for range %s", s)
		}
		if c.IPRange.IsValid() {
			return nil, fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", s, c.IPRange, c.Subnet)
		}
		c.IPRange = p
	}
	for _, s := range o.gateways {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("invalid gateway %s: %w", s, err)
		}
		c, ok := find(a)
		if !ok {
			return nil, fmt.Errorf("no matching subnet for gateway %s", s)
		}
		if c.Gateway.IsValid() {
			return nil, fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", s, c.Gateway, c.Subnet)
		}
		c.Gateway = a
	}
	for key, s := range o.aux.Map() {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("invalid aux-address %s: %w", s, err)
		}
		c, ok := find(a)
		if !ok {
			return nil, fmt.Errorf("no matching subnet for aux-address %s", s)
		}
		c.AuxAddress[key] = a
	}
	return i, nil
}

func networkListCommand(s *Session) *cobra.Command {
	var noTrunc bool
	c := s.listCommand("Provide filter values (e.g. \"driver=bridge\")", "Only display network IDs", func(ctx context.Context, cl *client.Client, o *listOptions) error {
		list, err := cl.NetworkList(ctx, o.filter.values)
		if err != nil {
			return err
		}
		slices.SortFunc(list, func(a, b network.Summary) int { return strings.Compare(a.Name, b.Name) })
		return format.List(s.Out, format.Networks(), o.layout, o.quiet, format.NetworkRows(list, noTrunc))
	})
	c.Flags().BoolVar(&noTrunc, "no-trunc", false, "Do not truncate the output")
	return c
}

func networkRemoveCommand(s *Session) *cobra.Command {
	return s.removeCommand("rm NETWORK [NETWORK...]", "network", "Do not error if the network does not exist",
		func(ctx context.Context, cl *client.Client, name string, force bool) (string, error) {
			err := cl.NetworkRemove(ctx, name)
			if force && errdefs.IsNotFound(err) {
				return "", nil
			}
			return name, err
		})
}

type connectOptions struct {
	ipv4, ipv6                         string
	links, aliases, linkLocal, options spec.List
	gwPriority                         int
}

func networkConnectCommand(s *Session) *cobra.Command {
	var o connectOptions
	o.links.Check = spec.CheckLink
	c := &cobra.Command{
		Use: "connect [OPTIONS] NETWORK CONTAINER", Args: exactArgs(2), ValidArgsFunction: s.completeKind("network"),
		RunE: func(c *cobra.Command, args []string) error {
			ep, err := o.endpoint(args[0])
			if err != nil {
				return err
			}
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return cl.NetworkConnect(c.Context(), args[0], network.ConnectRequest{Container: args[1], EndpointConfig: ep})
		},
	}
	f := c.Flags()
	f.StringVar(&o.ipv4, "ip", "", `IPv4 address (e.g., "172.30.100.104")`)
	f.StringVar(&o.ipv6, "ip6", "", `IPv6 address (e.g., "2001:db8::33")`)
	f.Var(&o.links, "link", "Add link to another container")
	f.Var(&o.aliases, "alias", "Add network-scoped alias for the container")
	f.Var(&o.linkLocal, "link-local-ip", "Add a link-local address for the container")
	f.Var(&o.options, "driver-opt", "driver options for the network")
	f.IntVar(&o.gwPriority, "gw-priority", 0, "Highest gw-priority provides the default gateway. Accepts positive and negative values")
	return c
}

func (o *connectOptions) endpoint(target string) (*network.EndpointSettings, error) {
	a := spec.Attachment{Target: target, Aliases: o.aliases.Values, Links: o.links.Values, DriverOpts: o.options.Map(), GwPriority: o.gwPriority}
	for _, f := range []struct {
		text string
		to   *netip.Addr
	}{{o.ipv4, &a.IPv4}, {o.ipv6, &a.IPv6}} {
		if f.text == "" {
			continue
		}
		ip, err := netip.ParseAddr(f.text)
		if err != nil {
			return nil, fmt.Errorf("invalid IP address: %s", f.text)
		}
		*f.to = ip
	}
	for _, text := range o.linkLocal.Values {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("invalid link-local IP address: %s", text)
		}
		a.LinkLocal = append(a.LinkLocal, ip)
	}
	return a.Endpoint()
}

func networkDisconnectCommand(s *Session) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "disconnect [OPTIONS] NETWORK CONTAINER", Args: exactArgs(2), ValidArgsFunction: s.completeKind("network"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			return cl.NetworkDisconnect(c.Context(), args[0], network.DisconnectRequest{Container: args[1], Force: force})
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Force the container to disconnect from a network")
	return c
}
