package cgroup

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/conex-containers/conex/base/errdefs"
)

// enable makes the parents of a v2 group and turns every controller of the machine on in each of them, so that the
// group has its control files. It tells what it has made.
func enable(dir string) (made []string, err error) {
	all, err := read(mountPoint, "cgroup.controllers")
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(dir)
	at := mountPoint
	for name := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(parent, mountPoint), "/")+"/", "/") {
		if err := enableIn(at, strings.Fields(all)); err != nil {
			return made, err
		}
		if name == "" {
			break
		}
		at += "/" + name
		if exists(at) {
			continue
		}
		if err := makeParent(at); err != nil {
			return made, err
		}
		made = append(made, at)
	}
	return made, nil
}

// enableIn turns the controllers on for the children of dir. One that cannot be is found out by whoever needs its
// files; a threaded group's children can have no limit of memory at all, and that is said here.
func enableIn(dir string, controllers []string) error {
	const control = "cgroup.subtree_control"
	now, err := read(dir, control)
	if err != nil {
		return err
	}
	var lack []string
	for _, c := range controllers {
		if !strings.Contains(" "+strings.TrimSpace(now)+" ", " "+c+" ") {
			lack = append(lack, "+"+c)
		}
	}
	if len(lack) == 0 || write(dir, control, strings.Join(lack, " ")) == nil {
		return nil
	}
	for _, c := range lack {
		_ = write(dir, control, c)
	}
	if kind, err := read(dir, "cgroup.type"); err == nil && strings.TrimSpace(kind) == "domain invalid" {
		return errdefs.FailedPrecondition("%s is in an invalid state: a group above it has processes of its own", dir)
	}
	return nil
}

// setV2 writes the limits of r into the v2 group. What v1 alone has (net_cls, net_prio, real time, swappiness, leaf
// weights, disabling the OOM killer) is passed over, as the specification's runtimes do.
func (g *Group) setV2(r *specs.LinuxResources) error {
	dir := g.paths[""]
	if dir == "" {
		if asksV2(r) {
			return errdefs.FailedPrecondition("cannot set limits: the container has no control group")
		}
		return nil
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		if err := setPids(dir, *r.Pids.Limit); err != nil {
			return err
		}
	}
	if r.Memory != nil {
		if err := memoryV2(dir, r.Memory); err != nil {
			return err
		}
	}
	if r.BlockIO != nil {
		if err := ioV2(dir, r.BlockIO); err != nil {
			return err
		}
	}
	if r.CPU != nil {
		if err := cpuV2(dir, r.CPU); err != nil {
			return err
		}
		if err := setCPUSet(dir, r.CPU); err != nil {
			return err
		}
	}
	if err := setHugepages(dir, ".max", r.HugepageLimits); err != nil {
		return err
	}
	if err := setRdma(dir, r.Rdma); err != nil {
		return err
	}
	return setUnified(dir, r.Unified)
}

// asksV2 reports whether r wants anything of a v2 group's files.
func asksV2(r *specs.LinuxResources) bool {
	return r.Pids != nil && r.Pids.Limit != nil || r.Memory != nil && *r.Memory != (specs.LinuxMemory{}) ||
		r.CPU != nil && *r.CPU != (specs.LinuxCPU{}) || r.BlockIO != nil || len(r.HugepageLimits) > 0 || len(r.Rdma) > 0 ||
		len(r.Unified) > 0
}

// limitText is a v2 limit: -1 is "max", 0 is not set ("").
func limitText(v int64) string {
	switch v {
	case 0:
		return ""
	case -1:
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

// swapText turns v1's memory+swap into v2's swap alone. Equal values mean no swap.
func swapText(swap, limit int64) (string, error) {
	switch {
	case limit == -1 && swap == 0:
		return "max", nil
	case swap == 0 || swap == -1 || limit == -1:
		return limitText(swap), nil
	case limit == 0:
		return "", errdefs.InvalidArgument("unable to set swap limit without memory limit")
	case limit < 0:
		return "", errdefs.InvalidArgument("invalid memory value: %d", limit)
	case swap < limit:
		return "", errdefs.InvalidArgument("memory+swap limit should be >= memory limit")
	}
	return strconv.FormatInt(swap-limit, 10), nil
}

// sameTotal is the limit of swap that leaves memory+swap as it is when memory gets a new limit, as v1 and the
// specification count it; "" when there is none.
func sameTotal(dir string, limit int64) (string, error) {
	memory, err := readUint(dir, "memory.max")
	if err != nil || memory == math.MaxUint64 {
		return "", err
	}
	swap, err := readUint(dir, "memory.swap.max")
	if missing(err) || swap == math.MaxUint64 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if memory+swap < uint64(limit) {
		return "", errdefs.InvalidArgument("memory+swap limit should be >= memory limit")
	}
	return strconv.FormatUint(memory+swap-uint64(limit), 10), nil
}

func memoryV2(dir string, m *specs.LinuxMemory) error {
	limit := value(m.Limit)
	if m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate {
		usage, err := readUint(dir, "memory.current")
		if err == nil && (limit > 0 && uint64(limit) <= usage || value(m.Swap) > 0 && uint64(value(m.Swap)) <= usage) {
			return errdefs.FailedPrecondition("rejecting memory limit %d, memory+swap limit %d: usage is %d", limit, value(m.Swap), usage)
		}
	}
	swap, err := swapText(value(m.Swap), limit)
	if err == nil && swap == "" && limit > 0 {
		swap, err = sameTotal(dir, limit)
	}
	if errdefs.Is(err, errdefs.ErrInvalidArgument) && limit == 0 {
		// The flag alone: the limit of memory is the one that is there.
		var now uint64
		if now, err = readUint(dir, "memory.max"); err == nil {
			swap, err = swapText(value(m.Swap), int64(min(now, math.MaxInt64)))
		}
	}
	if err != nil {
		return err
	}
	if swap != "" {
		// Without swap accounting there is no such file, and nothing to limit.
		if err := write(dir, "memory.swap.max", swap); err != nil && !(missing(err) && (swap == "max" || swap == "0")) {
			return err
		}
	}
	if v := limitText(limit); v != "" {
		if err := write(dir, "memory.max", v); err != nil {
			return err
		}
	}
	if v := limitText(value(m.Reservation)); v != "" {
		return write(dir, "memory.low", v)
	}
	return nil
}

// cpuWeight maps v1's shares (2 to 262144, default 1024) to v2's weight (1 to 10000, default 100): the quadratic
// curve in the logarithm through the three pairs, as runc and crun have it.
func cpuWeight(shares uint64) uint64 {
	switch {
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

const defaultPeriod = 100000 // cpu.max, in microseconds

func cpuV2(dir string, c *specs.LinuxCPU) error {
	if c.Idle != nil {
		if err := writeInt(dir, "cpu.idle", *c.Idle); err != nil {
			return err
		}
	}
	if c.Shares != nil && *c.Shares != 0 && value(c.Idle) != 1 { // an idle group has no weight
		if err := writeInt(dir, "cpu.weight", cpuWeight(*c.Shares)); err != nil {
			return err
		}
	}
	quota := value(c.Quota)
	again := false
	if c.Burst != nil {
		err := writeInt(dir, "cpu.max.burst", *c.Burst)
		again = errors.Is(err, unix.EINVAL) && quota != 0 // it may fit the quota that follows
		if err != nil && !again && !missing(err) {
			return err
		}
	}
	if quota != 0 || c.Period != nil && *c.Period != 0 {
		text, err := quotaText(dir, quota, c.Period)
		if err != nil {
			return err
		}
		if err := write(dir, "cpu.max", text); err != nil {
			return err
		}
	}
	if again {
		return writeInt(dir, "cpu.max.burst", *c.Burst)
	}
	return nil
}

// quotaText is the value of cpu.max: quota and period in one, of which the one that is not given stays as it is.
func quotaText(dir string, quota int64, period *uint64) (string, error) {
	now, err := read(dir, "cpu.max")
	if err != nil {
		return "", err
	}
	f := strings.Fields(now)
	if len(f) != 2 {
		f = []string{"max", strconv.Itoa(defaultPeriod)}
	}
	switch {
	case quota > 0:
		f[0] = strconv.FormatInt(quota, 10)
	case quota < 0:
		f[0] = "max"
	}
	if period != nil && *period != 0 {
		f[1] = strconv.FormatUint(*period, 10)
	}
	return f[0] + " " + f[1], nil
}

func ioV2(dir string, b *specs.LinuxBlockIO) error {
	if b.Weight != nil && *b.Weight != 0 {
		err := writeInt(dir, "io.bfq.weight", *b.Weight)
		if missing(err) {
			// v1's 10 to 1000 on v2's 1 to 10000.
			err = writeInt(dir, "io.weight", 1+(uint64(max(*b.Weight, 10))-10)*9999/990)
		}
		if err != nil {
			return err
		}
	}
	for _, d := range b.WeightDevice {
		if d.Weight == nil || *d.Weight == 0 {
			continue
		}
		// Weights of single devices are BFQ's alone (Linux 5.4).
		if err := write(dir, "io.bfq.weight", deviceValue(d.Major, d.Minor, uint64(*d.Weight))); err != nil && !missing(err) {
			return err
		}
	}
	for key, list := range map[string][]specs.LinuxThrottleDevice{
		"rbps": b.ThrottleReadBpsDevice, "wbps": b.ThrottleWriteBpsDevice,
		"riops": b.ThrottleReadIOPSDevice, "wiops": b.ThrottleWriteIOPSDevice,
	} {
		for _, d := range list {
			text := strconv.FormatUint(d.Rate, 10)
			if d.Rate == 0 {
				text = "max"
			}
			if err := write(dir, "io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, key, text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// setUnified writes files of the group by their names. A key with a slash would lead out of it.
func setUnified(dir string, files map[string]string) error {
	for key, text := range files {
		controller, _, ok := strings.Cut(key, ".")
		if strings.Contains(key, "/") || !ok || controller == "" {
			return errdefs.InvalidArgument("unified resource %q must be in the form CONTROLLER.PARAMETER, a file name", key)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			err := write(dir, key, line)
			if err == nil {
				continue
			}
			if has, e := read(dir, "cgroup.controllers"); e == nil && controller != "cgroup" && !strings.Contains(" "+strings.TrimSpace(has)+" ", " "+controller+" ") {
				return errdefs.FailedPrecondition("unified resource %q can't be set: controller %q not available: %w", key, controller, err)
			}
			return fmt.Errorf("unable to set unified resource %q: %w", key, err)
		}
	}
	return nil
}
