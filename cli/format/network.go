package format

import (
	"strconv"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"

	units "github.com/docker/go-units"
)

// Networks is the table of `network ls`.
func Networks() Table {
	return Table{
		Default: `{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}`,
		Quiet:   "{{.ID}}",
		Headers: map[string]string{
			"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6",
			"Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
		},
	}
}

// Network is one row of `network ls`.
type Network struct {
	n    network.Summary
	full bool
}

// NetworkRows makes the rows; full is --no-trunc.
func NetworkRows(list []network.Summary, full bool) []Network {
	rows := make([]Network, len(list))
	for i, n := range list {
		rows[i] = Network{n, full}
	}
	return rows
}

// ID is the short or full id.
func (r Network) ID() string {
	if r.full {
		return r.n.ID
	}
	return ShortID(r.n.ID)
}

// Name is the name.
func (r Network) Name() string { return r.n.Name }

// Driver is the driver.
func (r Network) Driver() string { return r.n.Driver }

// Scope is local or swarm.
func (r Network) Scope() string { return r.n.Scope }

// IPv4 tells whether it has IPv4.
func (r Network) IPv4() string { return strconv.FormatBool(r.n.EnableIPv4) }

// IPv6 tells whether it has IPv6.
func (r Network) IPv6() string { return strconv.FormatBool(r.n.EnableIPv6) }

// Internal tells whether it has no way out.
func (r Network) Internal() string { return strconv.FormatBool(r.n.Internal) }

// Labels are all labels, sorted.
func (r Network) Labels() string { return labels(r.n.Labels) }

// Label is the value of one label.
func (r Network) Label(name string) string { return r.n.Labels[name] }

// CreatedAt is the time of creation.
func (r Network) CreatedAt() string { return r.n.Created.String() }

// Volumes is the table of `volume ls`.
func Volumes() Table {
	return Table{
		Default: `{{.Driver}}\t{{.Name}}`,
		Quiet:   "{{.Name}}",
		Headers: map[string]string{
			"Name": "VOLUME NAME", "Driver": "DRIVER", "Scope": "SCOPE", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS",
			"Links": "LINKS", "Size": "SIZE", "Group": "GROUP", "Availability": "AVAILABILITY", "Status": "STATUS",
		},
	}
}

// Volume is one row of `volume ls`.
type Volume struct{ v volume.Volume }

// VolumeRows makes the rows.
func VolumeRows(list []volume.Volume) []Volume {
	rows := make([]Volume, len(list))
	for i, v := range list {
		rows[i] = Volume{v}
	}
	return rows
}

// Name is the name.
func (r Volume) Name() string { return r.v.Name }

// Driver is the driver.
func (r Volume) Driver() string { return r.v.Driver }

// Scope is local or global.
func (r Volume) Scope() string { return r.v.Scope }

// Mountpoint is the directory on the host.
func (r Volume) Mountpoint() string { return r.v.Mountpoint }

// Labels are all labels, sorted.
func (r Volume) Labels() string { return labels(r.v.Labels) }

// Label is the value of one label.
func (r Volume) Label(name string) string { return r.v.Labels[name] }

// Links counts the containers that use it, when it was asked for.
func (r Volume) Links() string {
	if r.v.UsageData == nil {
		return "N/A"
	}
	return strconv.FormatInt(r.v.UsageData.RefCount, 10)
}

// Size is what it takes, when it was asked for.
func (r Volume) Size() string {
	if r.v.UsageData == nil {
		return "N/A"
	}
	return units.HumanSize(float64(r.v.UsageData.Size))
}

// Group, Availability and Status belong to cluster volumes, which Conex has none of.
func (r Volume) Group() string { return "N/A" }

// Availability: see Group.
func (r Volume) Availability() string { return "N/A" }

// Status: see Group.
func (r Volume) Status() string { return "N/A" }
