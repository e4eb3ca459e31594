package cdi

import (
	"slices"
	"strconv"

	"github.com/moby/moby/api/types/container"

	"github.com/conex-containers/conex/base/errdefs"
)

// Driver is the device driver of the API that takes qualified names.
const Driver = "cdi"

// gpuKinds are what --gpus means: the vendors' kinds in the order in which they are looked for, with the driver's name.
var gpuKinds = []struct{ driver, kind string }{{"nvidia", "nvidia.com/gpu"}, {"amd", "amd.com/gpu"}}

// gpus resolves --gpus: all, a number of them, or names.
func (r *Registry) gpus(kind string, q *container.DeviceRequest) []string {
	var out []string
	for _, id := range q.DeviceIDs {
		out = append(out, kind+"="+id)
	}
	switch {
	case len(out) > 0:
	case q.Count < 0:
		out = append(out, kind+"=all")
	default:
		for n := range min(q.Count, len(r.devices)+1) { // one that is too many is named by the error
			out = append(out, kind+"="+strconv.Itoa(n))
		}
	}
	return out
}

// Resolve gives the names of the devices that the requests ask for.
func (r *Registry) Resolve(requests []container.DeviceRequest) ([]string, error) {
	var out []string
	for i := range requests {
		q := &requests[i]
		if q.Driver == Driver {
			switch {
			case q.Count != 0:
				return nil, errdefs.InvalidArgument("unexpected count in CDI device request")
			case len(q.Options) > 0:
				return nil, errdefs.InvalidArgument("unexpected options in CDI device request")
			}
			out = append(out, q.DeviceIDs...)
			continue
		}
		names := r.forGPU(q)
		if names == nil {
			return nil, Unknown(q)
		}
		out = append(out, names...)
	}
	return out, nil
}

func (r *Registry) forGPU(q *container.DeviceRequest) []string {
	wants := slices.ContainsFunc(q.Capabilities, func(all []string) bool { return slices.Contains(all, "gpu") })
	for _, g := range gpuKinds {
		if (q.Driver == g.driver || q.Driver == "" && wants) && r.Has(g.kind) {
			return r.gpus(g.kind, q)
		}
	}
	return nil
}

// Unknown is dockerd's word for a request that nobody serves.
func Unknown(q *container.DeviceRequest) error {
	return errdefs.InvalidArgument("could not select device driver %q with capabilities: %v", q.Driver, q.Capabilities)
}
