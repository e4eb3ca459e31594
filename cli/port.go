package cli

import (
	"fmt"
	"net"
	"slices"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"
)

func portCommand(s *Session) *cobra.Command {
	return &cobra.Command{
		Use: "port CONTAINER [PRIVATE_PORT[/PROTO]]", Args: rangeArgs(1, 2), ValidArgsFunction: s.completeContainers("running"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			doc, err := cl.ContainerInspect(c.Context(), args[0])
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
		},
	}
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
