package container

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/moby/moby/api/types/blkiodev"
	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/engine/spec"
)

// ContainerUpdate changes limits and the restart policy, of a running container at once.
func (s *Service) ContainerUpdate(ctx context.Context, ref string, u *types.UpdateConfig) (types.UpdateResponse, error) {
	out := types.UpdateResponse{Warnings: []string{}}
	c, err := s.index.find(ref)
	if err != nil {
		return out, err
	}
	if u == nil {
		return out, errdefs.InvalidArgument("nothing to update")
	}
	c.op.lock()
	defer c.op.unlock()
	rec := c.record()
	hc := *rec.HostConfig
	if c.phase() == types.StateDead || c.gone() {
		return out, errdefs.Conflict("Cannot update container %s: container is marked for removal and cannot be \"update\"", rec.ID)
	}
	if err := mergeResources(&hc.Resources, &u.Resources); err != nil {
		return out, fmt.Errorf("Cannot update container %s: %w", rec.ID, err)
	}
	if err := mergePolicy(&hc, u.RestartPolicy); err != nil {
		return out, err
	}
	warnings, err := checkResources(&hc.Resources, s.cfg.Host)
	if err != nil {
		return out, err
	}
	out.Warnings = append(out.Warnings, warnings...)
	if c.phaseAlive() {
		live := withoutThrottles(hc.Resources, &rec.HostConfig.Resources)
		r, err := spec.Resources(&live, s.cfg.Host)
		if err != nil {
			return out, err
		}
		if err := s.cfg.Tasks.Update(ctx, s.cfg.Namespace, rec.ID, r); err != nil {
			return out, fmt.Errorf("Cannot update container %s: %w", rec.ID, err)
		}
	}
	rec.HostConfig, rec.UpdatedAt = &hc, time.Now().UTC()
	if err := s.save(ctx, &rec); err != nil {
		return out, fmt.Errorf("container %s: update: %w", rec.ID, err)
	}
	c.set(func() { c.rec.HostConfig, c.rec.UpdatedAt = rec.HostConfig, rec.UpdatedAt })
	s.publish(&rec, events.ActionUpdate)
	return out, nil
}

func mergePolicy(hc *types.HostConfig, p types.RestartPolicy) error {
	if p.Name == "" {
		return nil
	}
	if err := types.ValidateRestartPolicy(p); err != nil {
		return errdefs.With(errdefs.ErrInvalidArgument, err)
	}
	if hc.AutoRemove && !p.IsNone() {
		return errdefs.InvalidArgument("Restart policy cannot be updated because AutoRemove is enabled for the container")
	}
	hc.RestartPolicy = p
	return nil
}

// mergeResources sets what the update names; zero means to leave as it is.
func mergeResources(r, u *types.Resources) error {
	if u.NanoCPUs != 0 && (r.CPUPeriod != 0 || r.CPUQuota != 0) {
		return errdefs.Conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period or Quota has already been set")
	}
	if (u.CPUPeriod != 0 || u.CPUQuota != 0) && r.NanoCPUs != 0 {
		return errdefs.Conflict("Conflicting options: CPU Period and Quota cannot be updated as NanoCPUs has already been set")
	}
	if u.Memory != 0 && u.MemorySwap == 0 && r.MemorySwap > 0 && u.Memory > r.MemorySwap {
		return errdefs.Conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	for _, f := range []struct{ to, from *int64 }{
		{&r.CPUShares, &u.CPUShares}, {&r.NanoCPUs, &u.NanoCPUs}, {&r.CPUPeriod, &u.CPUPeriod}, {&r.CPUQuota, &u.CPUQuota},
		{&r.CPURealtimePeriod, &u.CPURealtimePeriod}, {&r.CPURealtimeRuntime, &u.CPURealtimeRuntime}, {&r.Memory, &u.Memory},
		{&r.MemorySwap, &u.MemorySwap}, {&r.MemoryReservation, &u.MemoryReservation},
	} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	if u.BlkioWeight != 0 {
		r.BlkioWeight = u.BlkioWeight
	}
	if u.CpusetCpus != "" {
		r.CpusetCpus = u.CpusetCpus
	}
	if u.CpusetMems != "" {
		r.CpusetMems = u.CpusetMems
	}
	if u.PidsLimit != nil {
		r.PidsLimit = u.PidsLimit
	}
	if u.BlkioWeightDevice != nil {
		r.BlkioWeightDevice = u.BlkioWeightDevice
	}
	for _, f := range throttles(r, u) {
		if *f.now != nil {
			*f.old = *f.now
		}
	}
	return nil
}

// throttle is one kind of per-device rules in two sets of resources.
type throttle struct{ old, now *[]*blkiodev.ThrottleDevice }

func throttles(old, now *types.Resources) []throttle {
	return []throttle{
		{&old.BlkioDeviceReadBps, &now.BlkioDeviceReadBps}, {&old.BlkioDeviceWriteBps, &now.BlkioDeviceWriteBps},
		{&old.BlkioDeviceReadIOps, &now.BlkioDeviceReadIOps}, {&old.BlkioDeviceWriteIOps, &now.BlkioDeviceWriteIOps},
	}
}

// withoutThrottles adds to the new resources of a running container a rate of 0, the kernel's word for none, for each
// device whose rule the update took away.
func withoutThrottles(now types.Resources, old *types.Resources) types.Resources {
	for _, f := range throttles(old, &now) {
		list := slices.Clone(*f.now)
		for _, d := range *f.old {
			if !slices.ContainsFunc(*f.now, func(n *blkiodev.ThrottleDevice) bool { return n.Path == d.Path }) {
				list = append(list, &blkiodev.ThrottleDevice{Path: d.Path})
			}
		}
		*f.now = list
	}
	return now
}
