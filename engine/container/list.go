package container

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	types "github.com/moby/moby/api/types/container"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/engine/filter"
)

var listFilters = []string{
	"ancestor", "annotation", "before", "since", "exited", "expose", "health", "id", "is-task", "isolation", "label",
	"name", "network", "publish", "status", "volume",
}

// ContainerList lists containers, newest first: the running ones, or all of them with All, Limit or a status filter.
func (s *Service) ContainerList(ctx context.Context, o docker.ListOptions) ([]types.Summary, error) {
	m, err := s.newMatcher(ctx, o)
	if err != nil {
		return nil, err
	}
	out, linkers := []types.Summary{}, s.linkers()
	for _, c := range s.index.all() {
		v := c.view()
		if !m.matches(&v) {
			continue
		}
		sum := s.summary(ctx, &v, o.Size)
		sum.Names = append(sum.Names, linkers[v.ID]...)
		out = append(out, sum)
		if o.Limit > 0 && len(out) >= o.Limit {
			break
		}
	}
	return out, nil
}

func (s *Service) summary(ctx context.Context, v *view, size bool) types.Summary {
	out := types.Summary{
		ID: v.ID, Names: []string{"/" + v.Name}, Image: v.Config.Image, ImageID: v.ImageID, ImageManifestDescriptor: v.Manifest,
		Command: v.command(), Created: v.CreatedAt.Unix(), Ports: portList(v), Labels: v.Config.Labels, State: v.shown(),
		Status: v.status(time.Now()), NetworkSettings: s.networksOf(v), Mounts: mountPoints(v.Mounts),
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	out.HostConfig.NetworkMode = string(v.HostConfig.NetworkMode)
	out.HostConfig.Annotations = v.HostConfig.Annotations
	out.Health = &types.HealthSummary{Status: types.NoHealthcheck}
	if v.Health != nil {
		out.Health = &types.HealthSummary{Status: v.Health.Status, FailingStreak: v.Health.FailingStreak}
	}
	if size {
		rw, root, err := s.sizes(ctx, &v.Record)
		if err != nil {
			logging.From(ctx).Debug("list", "container", v.ID, "err", err)
		}
		out.SizeRw, out.SizeRootFs = rw, root
	}
	return out
}

// status is the sentence that lists show.
func (v *view) status(now time.Time) string {
	ago := func(t time.Time) string { return units.HumanDuration(now.Sub(t)) }
	switch v.State {
	case types.StateRunning:
		text := "Up " + ago(v.StartedAt)
		if v.Health != nil {
			word := string(v.Health.Status)
			if v.Health.Status == types.Starting {
				word = "health: starting"
			}
			text += " (" + word + ")"
		}
		return text
	case types.StatePaused:
		return "Up " + ago(v.StartedAt) + " (Paused)"
	case types.StateRestarting:
		return fmt.Sprintf("Restarting (%d) %s ago", v.ExitCode, ago(v.FinishedAt))
	case types.StateCreated:
		return "Created"
	case types.StateDead:
		return "Dead"
	case types.StateExited:
		if v.FinishedAt.IsZero() {
			return "Created"
		}
		return fmt.Sprintf("Exited (%d) %s ago", v.ExitCode, ago(v.FinishedAt))
	}
	return "Removal In Progress"
}

// portList is the ports column: published ports with their addresses, and exposed ones.
func portList(v *view) []types.PortSummary {
	out := []types.PortSummary{}
	for p, bindings := range portMap(v) {
		if len(bindings) == 0 {
			out = append(out, types.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range bindings {
			public, _ := strconv.ParseUint(b.HostPort, 10, 16)
			ip := b.HostIP
			if !ip.IsValid() {
				ip = netip.IPv4Unspecified()
			}
			out = append(out, types.PortSummary{IP: ip, PrivatePort: p.Num(), PublicPort: uint16(public), Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(a, b types.PortSummary) int {
		if a.PrivatePort != b.PrivatePort {
			return int(a.PrivatePort) - int(b.PrivatePort)
		}
		return strings.Compare(a.Type+a.IP.String()+strconv.Itoa(int(a.PublicPort)), b.Type+b.IP.String()+strconv.Itoa(int(b.PublicPort)))
	})
	return out
}

// matcher is a list's parsed filters.
type matcher struct {
	s             *Service
	f             docker.Filters
	all           bool
	before, since time.Time
	exited        map[int]bool
	images        map[string]bool // ids of the ancestors
	networks      map[string]bool // names
}

func (s *Service) newMatcher(ctx context.Context, o docker.ListOptions) (*matcher, error) {
	f := o.Filters
	if err := filter.Known(f, listFilters...); err != nil {
		return nil, err
	}
	m := &matcher{s: s, f: f, all: o.All || o.Limit > 0 || len(f["status"]) > 0 || len(f["exited"]) > 0 || len(f["before"]) > 0 || len(f["since"]) > 0}
	for _, st := range f.Get("status") {
		if err := types.ValidateContainerState(types.ContainerState(st)); err != nil {
			return nil, errdefs.InvalidArgument("invalid filter 'status=%s'", st)
		}
	}
	for _, h := range f.Get("health") {
		if err := types.ValidateHealthStatus(types.HealthStatus(h)); err != nil {
			return nil, errdefs.InvalidArgument("invalid filter 'health=%s'", h)
		}
	}
	if _, err := filter.Bool(f, "is-task", false); err != nil {
		return nil, err
	}
	if codes := f.Get("exited"); len(codes) > 0 {
		m.exited = map[int]bool{}
		for _, text := range codes {
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil, errdefs.InvalidArgument("invalid filter 'exited=%s'", text)
			}
			m.exited[n] = true
		}
	}
	for _, bound := range []struct {
		key string
		at  *time.Time
	}{{"before", &m.before}, {"since", &m.since}} {
		for _, ref := range f.Get(bound.key) {
			c, err := s.index.find(ref)
			if err != nil {
				return nil, err
			}
			*bound.at = c.created
		}
	}
	m.resolve(ctx)
	return m, nil
}

// resolve turns names of images and networks into what records say; unknown ones match nothing.
func (m *matcher) resolve(ctx context.Context) {
	if refs := m.f.Get("ancestor"); len(refs) > 0 {
		m.images = map[string]bool{}
		for _, ref := range refs {
			if d, err := m.s.cfg.Images.Get(ctx, m.s.cfg.Namespace, ref); err == nil {
				m.images[d.ID.String()] = true
			}
		}
	}
	if refs := m.f.Get("network"); len(refs) > 0 {
		m.networks = map[string]bool{}
		for _, ref := range refs {
			m.networks[ref] = true
			if n, err := m.s.cfg.Network.Network(ref); err == nil {
				m.networks[n.Name] = true
			}
		}
	}
}

func (m *matcher) matches(v *view) bool {
	if !m.all && !v.alive() && v.State != types.StateRestarting {
		return false
	}
	if !m.before.IsZero() && !v.CreatedAt.Before(m.before) || !m.since.IsZero() && !v.CreatedAt.After(m.since) {
		return false
	}
	if m.exited != nil && (v.State != types.StateExited || !m.exited[v.ExitCode]) {
		return false
	}
	if m.images != nil && !m.images[v.ImageID] {
		return false
	}
	if want, err := filter.Bool(m.f, "is-task", false); err != nil || want {
		return false
	}
	return filter.Labels(m.f, v.Config.Labels) && m.matchesText(v) && m.matchesNetwork(v)
}

func (m *matcher) matchesText(v *view) bool {
	any := func(key string, ok func(string) bool) bool {
		values := m.f.Get(key)
		return len(values) == 0 || slices.ContainsFunc(values, ok)
	}
	health := types.NoHealthcheck
	if v.Health != nil {
		health = v.Health.Status
	}
	return any("id", func(x string) bool { return strings.HasPrefix(v.ID, x) }) &&
		any("name", func(x string) bool { return matchesName(x, v.Name) }) &&
		any("status", func(x string) bool { return x == string(v.shown()) }) &&
		any("health", func(x string) bool { return x == string(health) }) &&
		any("volume", func(x string) bool {
			return slices.ContainsFunc(v.Mounts, func(mt Mount) bool { return mt.Name == x || mt.Destination == path.Clean(x) })
		}) &&
		any("annotation", func(x string) bool {
			k, want, exact := strings.Cut(x, "=")
			got, has := v.HostConfig.Annotations[k]
			return has && (!exact || got == want)
		})
}

func (m *matcher) matchesNetwork(v *view) bool {
	if m.networks != nil {
		found := false
		for name := range v.Networks {
			found = found || m.networks[name]
		}
		if !found {
			return false
		}
	}
	if len(m.f["publish"]) == 0 && len(m.f["expose"]) == 0 {
		return true
	}
	published := func(p netapi.Port) bool { _, ok := v.HostConfig.PortBindings[p]; return ok }
	exposed := func(p netapi.Port) bool { _, ok := v.Config.ExposedPorts[p]; return ok }
	return matchesPort(m.f.Get("publish"), published) && matchesPort(m.f.Get("expose"), exposed)
}

func matchesPort(values []string, has func(netapi.Port) bool) bool {
	if len(values) == 0 {
		return true
	}
	for _, text := range values {
		r, err := netapi.ParsePortRange(text)
		if err != nil {
			continue
		}
		for p := range r.All() {
			if has(p) {
				return true
			}
		}
	}
	return false
}

// matchesName compares by regular expression on the name with and without its slash, as Docker does.
func matchesName(pattern, name string) bool {
	return compiled(pattern, "/"+name) || compiled(pattern, name)
}

func compiled(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(name)
}
