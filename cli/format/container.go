package format

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Containers is the table of `ps`.
func Containers(size bool) Table {
	t := Table{
		Default: `{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}`,
		Quiet:   "{{.ID}}",
		Headers: map[string]string{
			"ID": "CONTAINER ID", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
			"RunningFor": "CREATED", "Ports": "PORTS", "State": "STATE", "Status": "STATUS", "Size": "SIZE",
			"Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Networks": "NETWORKS", "Platform": "PLATFORM",
		},
	}
	if size {
		t.Default += `\t{{.Size}}`
	}
	return t
}

// Container is one row of `ps`.
type Container struct {
	c    container.Summary
	full bool
	now  time.Time
}

// ContainerRows makes the rows of a list; full is --no-trunc.
func ContainerRows(list []container.Summary, full bool, now time.Time) []Container {
	rows := make([]Container, len(list))
	for i, c := range list {
		rows[i] = Container{c: c, full: full, now: now}
	}
	return rows
}

// ID is the short or full id.
func (r Container) ID() string {
	if r.full {
		return r.c.ID
	}
	return ShortID(r.c.ID)
}

// Names are the container's own name and, with full, those that links gave it.
func (r Container) Names() string {
	var names []string
	for _, n := range r.c.Names {
		n = strings.TrimPrefix(n, "/")
		if r.full || !strings.Contains(n, "/") {
			names = append(names, n)
		}
	}
	return strings.Join(names, ",")
}

// Image is the reference that the container was made from, without a digest unless full.
func (r Container) Image() string {
	switch img := r.c.Image; {
	case img == "":
		return "<no image>"
	case r.full:
		return img
	case ShortID(r.c.ImageID) == ShortID(img):
		return ShortID(img)
	default:
		name, _, digest := strings.Cut(img, "@")
		if digest && strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/') {
			return name // name:tag@digest
		}
		return img
	}
}

// Command is the command in quotes.
func (r Container) Command() string {
	if r.full {
		return strconv.Quote(r.c.Command)
	}
	return strconv.Quote(Ellipsis(r.c.Command, 20))
}

// CreatedAt is the time of creation.
func (r Container) CreatedAt() string { return time.Unix(r.c.Created, 0).String() }

// RunningFor is the age of the container.
func (r Container) RunningFor() string {
	return units.HumanDuration(r.now.Sub(time.Unix(r.c.Created, 0))) + " ago"
}

// State is running, exited and so on.
func (r Container) State() string { return string(r.c.State) }

// Status is the state in words, with its age.
func (r Container) Status() string { return r.c.Status }

// Size is the size of the writable layer and of the whole.
func (r Container) Size() string {
	s := units.HumanSizeWithPrecision(float64(r.c.SizeRw), 3)
	if r.c.SizeRootFs > 0 {
		s += " (virtual " + units.HumanSizeWithPrecision(float64(r.c.SizeRootFs), 3) + ")"
	}
	return s
}

// Labels are all labels, sorted.
func (r Container) Labels() string { return labels(r.c.Labels) }

// Label is the value of one label.
func (r Container) Label(name string) string { return r.c.Labels[name] }

// Networks are the names of the networks.
func (r Container) Networks() string {
	if r.c.NetworkSettings == nil {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(r.c.NetworkSettings.Networks)), ",")
}

// Mounts are the names of volumes and the sources of binds.
func (r Container) Mounts() string {
	var out []string
	for _, m := range r.c.Mounts {
		name := m.Name
		if name == "" {
			name = m.Source
		}
		if !r.full {
			name = Ellipsis(name, 15)
		}
		out = append(out, name)
	}
	return strings.Join(out, ",")
}

// LocalVolumes counts the volumes of the driver local.
func (r Container) LocalVolumes() string {
	n := 0
	for _, m := range r.c.Mounts {
		if m.Driver == "local" {
			n++
		}
	}
	return strconv.Itoa(n)
}

// Ports are the published and exposed ports, neighbours joined to ranges.
func (r Container) Ports() string { return Ports(r.c.Ports) }

// Platform is the platform of the image, nil when the engine does not tell.
func (r Container) Platform() *ocispec.Platform {
	if d := r.c.ImageManifestDescriptor; d != nil {
		return d.Platform
	}
	return nil
}

// Ports joins ports whose numbers follow each other, where the host's port is the container's: 0.0.0.0:80-82->80-82/tcp.
func Ports(list []container.PortSummary) string {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), strings.Compare(addr(a.IP), addr(b.IP)),
			cmp.Compare(a.PublicPort, b.PublicPort), strings.Compare(a.Type, b.Type))
	})
	type key struct{ ip, proto string }
	type run struct{ first, last uint16 }
	var out, mapped []string
	var order []key
	open := map[key]*run{}
	for _, p := range list {
		if p.IP.IsValid() && p.PublicPort != p.PrivatePort {
			host := netip.AddrPortFrom(p.IP, p.PublicPort).String()
			mapped = append(mapped, fmt.Sprintf("%s->%d/%s", host, p.PrivatePort, p.Type))
			continue
		}
		k := key{addr(p.IP), p.Type}
		switch g := open[k]; {
		case g == nil:
			open[k] = &run{p.PrivatePort, p.PrivatePort}
			order = append(order, k)
		case p.PrivatePort == g.last+1:
			g.last = p.PrivatePort
		default:
			out = append(out, portRun(k.ip, k.proto, g.first, g.last))
			open[k] = &run{p.PrivatePort, p.PrivatePort}
		}
	}
	for _, k := range order {
		out = append(out, portRun(k.ip, k.proto, open[k].first, open[k].last))
	}
	return strings.Join(append(out, mapped...), ", ")
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func portRun(ip, proto string, first, last uint16) string {
	s := strconv.Itoa(int(first))
	if last != first {
		s += "-" + strconv.Itoa(int(last))
	}
	if ip != "" {
		if strings.Contains(ip, ":") {
			ip = "[" + ip + "]"
		}
		s = ip + ":" + s + "->" + s
	}
	return s + "/" + proto
}

func labels(m map[string]string) string {
	out := make([]string, 0, len(m))
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
