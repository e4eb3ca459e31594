package cli

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/cli/spec"
)

func portCommand(s *Session) *cobra.Command {
	c := &cobra.Command{
		Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Args: rangeArgs(1, 2), ValidArgsFunction: s.completeContainers("running"),
		RunE: func(c *cobra.Command, args []string) error { return s.ports(c.Context(), args) },
	}
	c.AddCommand(portAddCommand(s), portRmCommand(s))
	return c
}

// ports prints all published ports of a container, or those of one of its ports.
func (s *Session) ports(ctx context.Context, args []string) error {
	cl, err := s.Client()
	if err != nil {
		return err
	}
	doc, err := cl.ContainerInspect(ctx, args[0])
	if err != nil {
		return err
	}
	var ports network.PortMap
	if doc.NetworkSettings != nil {
		ports = doc.NetworkSettings.Ports
	}
	if len(args) == 2 {
		return s.onePort(ports, args[0], args[1])
	}
	var lines []string
	for p, binds := range ports {
		for _, b := range binds {
			lines = append(lines, fmt.Sprintf("%s -> %s", p, binding(b)))
		}
	}
	slices.Sort(lines)
	for _, l := range lines {
		_, _ = fmt.Fprintln(s.Out, l)
	}
	return nil
}

func portAddCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "add CONTAINER PORT [PORT...]", Short: "Publish ports of a container, of a running one at once", Args: minArgs(2),
		Long:              "Publish ports of a container as -p of run does: [[IP:]HOST_PORT:]CONTAINER_PORT[/PROTO]. Those of a running container are\nreachable at once, and again after each of its starts. Then all published ports are listed, as conex port does.",
		ValidArgsFunction: s.completeContainers("running", "paused", "exited", "created"),
		RunE: func(c *cobra.Command, args []string) error {
			return s.changePorts(c.Context(), args, func(m network.PortMap) docker.PortChange { return docker.PortChange{Publish: m} })
		},
	}
}

func portRmCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "rm CONTAINER PORT [PORT...]", Short: "Publish ports of a container no longer", Args: minArgs(2),
		Long:              "Withdraw published ports of a container: [[IP:]HOST_PORT:]CONTAINER_PORT[/PROTO], without a host's port all of the container's\nport. No new connection comes in by them, those that are open go on. Then the published ports that stay are listed.",
		ValidArgsFunction: s.completeContainers("running", "paused", "exited", "created"),
		RunE: func(c *cobra.Command, args []string) error {
			return s.changePorts(c.Context(), args, func(m network.PortMap) docker.PortChange { return docker.PortChange{Withdraw: m} })
		},
	}
}

func (s *Session) changePorts(ctx context.Context, args []string, change func(network.PortMap) docker.PortChange) error {
	ports := network.PortMap{}
	for _, text := range args[1:] {
		if err := spec.ParsePublish(text, network.PortSet{}, ports); err != nil {
			return err
		}
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	if err := cl.ContainerPorts(ctx, args[0], change(ports)); err != nil {
		return err
	}
	return s.ports(ctx, args[:1])
}

func (s *Session) onePort(ports network.PortMap, name, wanted string) error {
	p, err := network.ParsePort(wanted)
	if err != nil {
		return fmt.Errorf("invalid port '%s': %w", wanted, err)
	}
	binds := ports[p]
	if len(binds) == 0 {
		return fmt.Errorf("Error: No public port '%s' published for %s", p, name)
	}
	for _, b := range binds {
		_, _ = fmt.Fprintln(s.Out, binding(b))
	}
	return nil
}

func binding(b network.PortBinding) string {
	host := ""
	if b.HostIP.IsValid() {
		host = b.HostIP.String()
	}
	return net.JoinHostPort(host, b.HostPort)
}
