package container

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	netapi "github.com/moby/moby/api/types/network"
	"golang.org/x/sync/errgroup"

	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/network"
)

// publicDNS are used where the host has only a resolver on its own loopback, as dockerd does.
var publicDNS = []string{"8.8.8.8", "8.8.4.4"}

// named tells whether a container is on a network whose containers find each other by name: any but the default one.
func (s *Service) named(rec *Record) bool {
	for name := range rec.Networks {
		if n, err := s.cfg.Network.Network(name); err == nil && n.Connects() && n.Name != netapi.NetworkBridge {
			return true
		}
	}
	return false
}

// resolve opens a container's resolver in its network namespace, when it is on a network with names.
func (s *Service) resolve(ctx context.Context, rec *Record, netns *os.File) error {
	if !s.named(rec) {
		return nil
	}
	up, err := s.upstream(rec)
	if err != nil {
		return err
	}
	return s.cfg.Network.Resolve(ctx, rec.ID, netns, up)
}

// resolveRunning is resolve for a container that runs.
func (s *Service) resolveRunning(ctx context.Context, rec *Record, pid int) error {
	if !s.named(rec) {
		return nil
	}
	netns, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns", "net"))
	if err != nil {
		return fmt.Errorf("container %s: %w", rec.ID, err)
	}
	defer func() { _ = netns.Close() }()
	return s.resolve(ctx, rec, netns)
}

// resolveAll opens the resolvers of what runs, after the engine's start: they ended with the engine before.
func (s *Service) resolveAll() {
	var group errgroup.Group
	group.SetLimit(sweepParallel)
	for _, c := range s.index.all() {
		v := c.view()
		if !v.alive() || len(v.Run.Endpoints) == 0 {
			continue
		}
		group.Go(func() error {
			if err := s.resolveRunning(s.base, &v.Record, v.Run.Pid); err != nil {
				logging.From(s.base).Warn("names are not resolved", "container", v.ID, "err", err)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
}

// upstream is who is asked what no network answers: the servers of --dns, from within the container, else the host's,
// from the host. Containers on internal networks alone ask nobody.
func (s *Service) upstream(rec *Record) (network.Upstream, error) {
	outside := false
	for name := range rec.Networks {
		n, err := s.cfg.Network.Network(name)
		outside = outside || err == nil && !n.Internal
	}
	if !outside {
		return network.Upstream{}, nil
	}
	up := network.Upstream{Inside: true}
	for _, a := range firstOf(rec.HostConfig.DNS, s.cfg.DNS) {
		up.Servers = append(up.Servers, netip.AddrPortFrom(a, 53))
	}
	if len(up.Servers) > 0 {
		return up, nil
	}
	up.Inside = false
	data, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !os.IsNotExist(err) {
		return up, err
	}
	r := parseResolver(data)
	for _, server := range append(r.servers, publicDNS...) {
		if a, err := netip.ParseAddr(server); err == nil && (len(up.Servers) == 0 || slices.Contains(r.servers, server)) {
			up.Servers = append(up.Servers, netip.AddrPortFrom(a, 53))
		}
	}
	return up, nil
}

// renameEndpoints lets the others of its networks find a container by its new name.
func (s *Service) renameEndpoints(ctx context.Context, c *Container) {
	v := c.view()
	run := v.Run
	run.Endpoints = slices.Clone(run.Endpoints)
	for i, e := range run.Endpoints {
		var names []string
		if n, err := s.cfg.Network.Network(e.Network); err == nil && n.Name != netapi.NetworkBridge {
			settings := v.Networks[n.Name]
			if settings == nil {
				settings = &netapi.EndpointSettings{}
			}
			names = dnsNames(&v.Record, settings.Aliases)
		}
		if changed, ok := s.cfg.Network.Rename(e.ID, v.Name, names); ok {
			run.Endpoints[i] = changed
		}
	}
	if len(run.Endpoints) == 0 || !v.alive() {
		return
	}
	c.set(func() { c.run.Endpoints = run.Endpoints })
	if err := s.saveRun(ctx, v.ID, run); err != nil {
		logging.From(ctx).Error("run of a renamed container", "container", v.ID, "err", err)
	}
}

// resolvConf is the host's file with the container's and the daemon's settings in place of its own. Resolvers on
// the host's loopback cannot be reached from a network namespace and are left out; on networks with names ours is the
// only one.
func (s *Service) resolvConf(rec *Record) ([]byte, error) {
	hc := rec.HostConfig
	host, err := hostResolvConf()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", rec.ID, err)
	}
	own := resolver{}
	for _, a := range firstOf(hc.DNS, s.cfg.DNS) {
		own.servers = append(own.servers, a.String())
	}
	own.options, own.search = firstOf(hc.DNSOptions, s.cfg.DNSOptions), firstOf(hc.DNSSearch, s.cfg.DNSSearch)
	r := parseResolver(host)
	if hc.NetworkMode.IsHost() && len(own.servers)+len(own.options)+len(own.search) == 0 {
		return host, nil
	}
	if !hc.NetworkMode.IsHost() {
		r.servers = slices.DeleteFunc(r.servers, loopback)
	}
	if len(own.servers) > 0 {
		r.servers = own.servers
	}
	if len(r.servers) == 0 && !hc.NetworkMode.IsNone() {
		r.servers = publicDNS
	}
	if len(own.options) > 0 {
		r.options = own.options
	}
	if len(own.search) > 0 {
		r.search = own.search
		if len(own.search) == 1 && own.search[0] == "." {
			r.search = nil
		}
	}
	if s.named(rec) {
		r.servers = []string{network.NameServer.String()}
		if !slices.ContainsFunc(r.options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
			r.options = append(slices.Clone(r.options), "ndots:0") // a bare name is another container before anything else
		}
	}
	return r.bytes(), nil
}

func firstOf[T any](a, b []T) []T {
	if len(a) > 0 {
		return a
	}
	return b
}

// resolver is what resolv.conf(5) can say.
type resolver struct {
	servers, search, options []string
}

func parseResolver(data []byte) resolver {
	var r resolver
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.servers = append(r.servers, f[1])
		case "search", "domain":
			r.search = f[1:]
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

func (r *resolver) bytes() []byte {
	var b bytes.Buffer
	for _, n := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", n)
	}
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.Bytes()
}

func loopback(server string) bool {
	a, err := netip.ParseAddr(server)
	return err != nil || a.IsLoopback()
}

// hostResolvConf reads the host's resolvers; systemd-resolved's stub is passed over for what it forwards to.
func hostResolvConf() ([]byte, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r := parseResolver(data); len(r.servers) == 1 && r.servers[0] == "127.0.0.53" {
		if real, err := os.ReadFile("/run/systemd/resolve/resolv.conf"); err == nil {
			return real, nil
		}
	}
	return data, nil
}
