package spec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"
)

// ParseRestart reads --restart: no, always, unless-stopped, on-failure[:max-retries].
func ParseRestart(s string) (container.RestartPolicy, error) {
	var p container.RestartPolicy
	if s == "" {
		return p, nil
	}
	name, count, counted := strings.Cut(s, ":")
	switch {
	case counted && name == "":
		return p, errors.New("invalid restart policy format: no policy provided before colon")
	case strings.Contains(count, ":"):
		return p, errors.New("invalid restart policy format: too many colons")
	case counted:
		n, err := strconv.Atoi(count)
		if err != nil {
			return p, errors.New("invalid restart policy format: maximum retry count must be an integer")
		}
		p.MaximumRetryCount = n
	}
	p.Name = container.RestartPolicyMode(name)
	return p, nil
}

func (o *Options) limits() (container.Resources, error) {
	r := container.Resources{
		CPUShares: o.CPUShares, Memory: o.Memory.Value, NanoCPUs: int64(o.CPUs), CgroupParent: o.CgroupParent,
		BlkioWeight: o.BlkioWeight, CPUPeriod: o.CPUPeriod, CPUQuota: o.CPUQuota, CPURealtimePeriod: o.CPURTPeriod,
		CPURealtimeRuntime: o.CPURTRuntime, CpusetCpus: o.CpusetCpus, CpusetMems: o.CpusetMems,
		MemoryReservation: o.MemoryReservation.Value, MemorySwap: o.MemorySwap.Value, MemorySwappiness: &o.Swappiness,
		OomKillDisable: &o.OOMKillDisable, PidsLimit: &o.PidsLimit, Ulimits: o.Ulimit.Values,
		DeviceCgroupRules: o.DeviceRule.Values, Devices: []container.DeviceMapping{},
	}
	var cdi []string
	for _, d := range o.Device.Values {
		if err := CheckDevice(d); err != nil {
			return r, err
		}
		if IsCDI(d) {
			cdi = append(cdi, d)
			continue
		}
		m, err := ParseDevice(d)
		if err != nil {
			return r, err
		}
		r.Devices = append(r.Devices, m)
	}
	if len(cdi) > 0 {
		r.DeviceRequests = []container.DeviceRequest{{Driver: "cdi", DeviceIDs: cdi}}
	}
	if o.GPUs != "" {
		q, err := ParseGPUs(o.GPUs)
		if err != nil {
			return r, err
		}
		r.DeviceRequests = append(r.DeviceRequests, q)
	}
	return r, o.blkio(&r)
}

func (o *Options) blkio(r *container.Resources) error {
	r.BlkioWeightDevice = []*blkiodev.WeightDevice{}
	for _, s := range o.WeightDevice.Values {
		w, err := ParseWeight(s)
		if err != nil {
			return err
		}
		r.BlkioWeightDevice = append(r.BlkioWeightDevice, w)
	}
	for _, t := range []struct {
		list  []string
		bytes bool
		to    *[]*blkiodev.ThrottleDevice
	}{
		{o.ReadBps.Values, true, &r.BlkioDeviceReadBps}, {o.WriteBps.Values, true, &r.BlkioDeviceWriteBps},
		{o.ReadIOps.Values, false, &r.BlkioDeviceReadIOps}, {o.WriteIOps.Values, false, &r.BlkioDeviceWriteIOps},
	} {
		*t.to = []*blkiodev.ThrottleDevice{}
		for _, s := range t.list {
			d, err := ParseThrottle(s, t.bytes)
			if err != nil {
				return err
			}
			*t.to = append(*t.to, d)
		}
	}
	return nil
}

func checkWeight(s string) (string, error) { _, err := ParseWeight(s); return s, err }
func checkBps(s string) (string, error)    { _, err := ParseThrottle(s, true); return s, err }
func checkIOps(s string) (string, error)   { _, err := ParseThrottle(s, false); return s, err }

// ParseFilter reads one --filter: name=value.
func ParseFilter(s string) (key, value string, err error) {
	if s == "" {
		return "", "", errors.New("invalid filter ''")
	}
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", "", fmt.Errorf("invalid filter '%s'", s)
	}
	return strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value), nil
}
