package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"
)

func infoCommand(s *Session) *cobra.Command {
	var layout string
	c := &cobra.Command{
		Use: "info [OPTIONS]", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := s.Client()
			if err != nil {
				return err
			}
			info, err := cl.Info(c.Context())
			if err != nil {
				return err
			}
			switch layout {
			case "":
				_, err = s.Out.Write([]byte(infoText(s.Version, info)))
				for _, w := range info.Warnings {
					_, _ = fmt.Fprintln(s.Err, w)
				}
			case "json":
				var b []byte
				if b, err = json.Marshal(info); err == nil {
					_, err = fmt.Fprintln(s.Out, string(b))
				}
			default:
				err = s.template(layout, info)
			}
			return err
		},
	}
	c.Flags().StringVarP(&layout, "format", "f", "", inspectUsage)
	return c
}

// infoText is Docker's plain form: one "Key: value" per line, indented under Client and Server.
func infoText(version string, i system.Info) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("Client:\n Version:    %s\n Context:    default\n\nServer:", version)
	line(" Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d", i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped)
	line(" Images: %d\n Server Version: %s\n Storage Driver: %s", i.Images, i.ServerVersion, i.Driver)
	for _, kv := range i.DriverStatus {
		line("  %s: %s", kv[0], kv[1])
	}
	line(" Logging Driver: %s\n Cgroup Driver: %s\n Cgroup Version: %s", i.LoggingDriver, i.CgroupDriver, i.CgroupVersion)
	line(" Plugins:\n  Volume: %s\n  Network: %s\n  Log: %s", strings.Join(i.Plugins.Volume, " "), strings.Join(i.Plugins.Network, " "), strings.Join(i.Plugins.Log, " "))
	line(" Swarm: %s", i.Swarm.LocalNodeState)
	line(" Runtimes: %s\n Default Runtime: %s", strings.Join(slices.Sorted(maps.Keys(i.Runtimes)), " "), i.DefaultRuntime)
	if i.InitBinary != "" {
		line(" Init Binary: %s", i.InitBinary)
	}
	if len(i.SecurityOptions) > 0 {
		line(" Security Options:")
		for _, o := range i.SecurityOptions {
			for n, kv := range strings.Split(o, ",") {
				k, v, _ := strings.Cut(kv, "=")
				switch {
				case n == 0 && k == "name":
					line("  %s", v)
				case k == "profile":
					line("   Profile: %s", v)
				}
			}
		}
	}
	line(" Kernel Version: %s\n Operating System: %s\n OSType: %s\n Architecture: %s", i.KernelVersion, i.OperatingSystem, i.OSType, i.Architecture)
	line(" CPUs: %d\n Total Memory: %s\n Name: %s\n ID: %s", i.NCPU, units.BytesSize(float64(i.MemTotal)), i.Name, i.ID)
	line(" Docker Root Dir: %s\n Debug Mode: %v", i.DockerRootDir, i.Debug)
	for _, kv := range [][2]string{{"HTTP Proxy", i.HTTPProxy}, {"HTTPS Proxy", i.HTTPSProxy}, {"No Proxy", i.NoProxy}} {
		if kv[1] != "" {
			line(" %s: %s", kv[0], kv[1])
		}
	}
	if len(i.Labels) > 0 {
		line(" Labels:\n  %s", strings.Join(i.Labels, "\n  "))
	}
	line(" Experimental: %v", i.ExperimentalBuild)
	if r := i.RegistryConfig; r != nil {
		line(" Insecure Registries:")
		for _, name := range slices.Sorted(maps.Keys(r.IndexConfigs)) {
			if !r.IndexConfigs[name].Secure {
				line("  %s", name)
			}
		}
		for _, p := range r.InsecureRegistryCIDRs {
			line("  %s", p)
		}
		if len(r.Mirrors) > 0 {
			line(" Registry Mirrors:\n  %s", strings.Join(r.Mirrors, "\n  "))
		}
	}
	line(" Live Restore Enabled: %v", i.LiveRestoreEnabled)
	if len(i.DefaultAddressPools) > 0 {
		line(" Default Address Pools:")
		for _, p := range i.DefaultAddressPools {
			line("   Base: %s, Size: %d", p.Base, p.Size)
		}
	}
	return b.String()
}
