package cli

import (
	"fmt"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"

	"github.com/conex-containers/conex/cli/spec"
)

type updateOptions struct {
	memory, reservation, swap spec.Bytes
	cpus                      spec.CPUs
	pids                      int64
	restart                   string
	res                       container.Resources
}

func updateCommand(s *Session) *cobra.Command {
	var o updateOptions
	o.swap.Unlimited = true
	c := &cobra.Command{
		Use: "update [OPTIONS] CONTAINER [CONTAINER...]", Args: minArgs(1), ValidArgsFunction: s.completeContainers(),
		RunE: func(c *cobra.Command, args []string) error { return s.update(c, &o, args) },
	}
	f := c.Flags()
	f.Uint16Var(&o.res.BlkioWeight, "blkio-weight", 0, `Block IO (relative weight), between 10 and 1000, or 0 to disable`)
	f.Int64Var(&o.res.CPUPeriod, "cpu-period", 0, "Limit CPU CFS (Completely Fair Scheduler) period")
	f.Int64Var(&o.res.CPUQuota, "cpu-quota", 0, "Limit CPU CFS (Completely Fair Scheduler) quota")
	f.Int64Var(&o.res.CPURealtimePeriod, "cpu-rt-period", 0, "Limit the CPU real-time period in microseconds")
	f.Int64Var(&o.res.CPURealtimeRuntime, "cpu-rt-runtime", 0, "Limit the CPU real-time runtime in microseconds")
	f.Int64VarP(&o.res.CPUShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	f.Var(&o.cpus, "cpus", "Number of CPUs")
	f.StringVar(&o.res.CpusetCpus, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	f.StringVar(&o.res.CpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	f.VarP(&o.memory, "memory", "m", "Memory limit")
	f.Var(&o.reservation, "memory-reservation", "Memory soft limit")
	f.Var(&o.swap, "memory-swap", `Swap limit equal to memory plus swap: -1 to enable unlimited swap`)
	f.Int64Var(&o.pids, "pids-limit", 0, `Tune container pids limit (set -1 for unlimited)`)
	f.StringVar(&o.restart, "restart", "", "Restart policy to apply when a container exits")
	return c
}

func (s *Session) update(c *cobra.Command, o *updateOptions, names []string) error {
	if c.Flags().NFlag() == 0 {
		return fmt.Errorf("you must provide one or more flags when using this command")
	}
	policy, err := spec.ParseRestart(o.restart)
	if err != nil {
		return err
	}
	o.res.Memory, o.res.MemoryReservation, o.res.MemorySwap = o.memory.Value, o.reservation.Value, o.swap.Value
	o.res.NanoCPUs = int64(o.cpus)
	if c.Flags().Changed("pids-limit") {
		o.res.PidsLimit = &o.pids
	}
	cl, err := s.Client()
	if err != nil {
		return err
	}
	return s.each(names, func(name string) (string, error) {
		r, err := cl.ContainerUpdate(c.Context(), name, container.UpdateConfig{Resources: o.res, RestartPolicy: policy})
		for _, w := range r.Warnings {
			_, _ = fmt.Fprintln(s.Err, w)
		}
		return name, err
	})
}
