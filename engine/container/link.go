package container

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	types "github.com/moby/moby/api/types/container"
	netapi "github.com/moby/moby/api/types/network"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/logging"
	"github.com/conex-containers/conex/network"
)

// Links are Docker's oldest way to find another container, of the default network: names in the hosts file and
// variables. On networks of users a link is a name that the resolver knows (network.Request.Links).
//
//	--link db:store      hosts: 172.17.0.2 store <hostname of db> db
//	                     STORE_PORT=tcp://172.17.0.2:5432 STORE_PORT_5432_TCP_ADDR=... STORE_ENV_LANG=...
//
// A record has them as ID:ALIAS, since names change.

// link is one link of a container.
type link struct {
	to    *Container
	alias string
}

// parseLink reads NAME[:ALIAS], and /NAME:/PARENT/ALIAS as inspect shows it.
func parseLink(text string) (name, alias string, err error) {
	name, alias, ok := strings.Cut(text, ":")
	if !ok {
		alias = name
	}
	if strings.HasPrefix(name, "/") {
		name, alias = name[1:], path.Base(alias)
	}
	if name == "" || alias == "" || strings.ContainsAny(alias, ":/ \t\n=\x00") {
		return "", "", errdefs.InvalidArgument("bad format for links: %s", text)
	}
	return name, alias, nil
}

// linksByFile tells whether links are the hosts file's business.
func linksByFile(hc *types.HostConfig) bool {
	return len(hc.Links) > 0 && !hc.NetworkMode.IsUserDefined()
}

// resolveLinks checks what a request says of links and puts ids in the place of names.
func (s *Service) resolveLinks(hc *types.HostConfig) error {
	if !linksByFile(hc) {
		return nil
	}
	out := make([]string, 0, len(hc.Links))
	for _, l := range hc.Links {
		name, alias, err := parseLink(l)
		if err != nil {
			return err
		}
		other, err := s.index.find(name)
		if err != nil { // not "not found": the docker CLI would take that for the image, and pull it
			return errdefs.InvalidArgument("could not get container for %s: %w", name, err)
		}
		rec := other.record()
		if rec.HostConfig.NetworkMode.IsHost() {
			return errdefs.InvalidArgument("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		out = append(out, rec.ID+":"+alias)
	}
	hc.Links = out
	s.linked.Store(true)
	return nil
}

// links are a container's, without those whose target is gone.
func (s *Service) links(hc *types.HostConfig) []link {
	if !linksByFile(hc) {
		return nil
	}
	var out []link
	for _, l := range hc.Links {
		id, alias, _ := strings.Cut(l, ":")
		if other := s.index.get(id); other != nil {
			out = append(out, link{other, alias})
		}
	}
	return out
}

// address is where the target of a link is, when it runs on the default network; six is not valid without IPv6.
func (s *Service) address(v *view) (four, six netip.Addr, ok bool) {
	if !v.alive() {
		return four, six, false
	}
	n, err := s.cfg.Network.Network(netapi.NetworkBridge)
	if err != nil {
		return four, six, false
	}
	i := slices.IndexFunc(v.Run.Endpoints, func(e network.Endpoint) bool { return e.Network == n.ID })
	if i < 0 || !v.Run.Endpoints[i].Address.IsValid() {
		return four, six, false
	}
	return v.Run.Endpoints[i].Address.Addr(), v.Run.Endpoints[i].Address6.Addr(), true
}

// checkLinks refuses the start of a container whose links lead nowhere.
func (s *Service) checkLinks(rec *Record) error {
	for _, l := range s.links(rec.HostConfig) {
		v := l.to.view()
		if !v.alive() {
			return errdefs.Conflict("Cannot link to a non running container: /%s AS /%s/%s", v.Name, rec.Name, l.alias)
		}
		if _, _, ok := s.address(&v); !ok {
			return errdefs.Conflict("Cannot link to /%s: it is not attached to the default bridge network: put both on a network of their own, where they find each other by name", v.Name)
		}
	}
	return nil
}

// linkedHosts are the lines of the hosts file.
func (s *Service) linkedHosts(hc *types.HostConfig) (lines []string) {
	for _, l := range s.links(hc) {
		v := l.to.view()
		if four, six, ok := s.address(&v); ok {
			names := []string{l.alias}
			for _, n := range []string{v.Config.Hostname, v.Name} {
				if !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
			for _, ip := range []netip.Addr{four, six} {
				if ip.IsValid() {
					lines = append(lines, ip.String()+"\t"+strings.Join(names, " "))
				}
			}
		}
	}
	return lines
}

// linkEnv are the variables that links bring.
func (s *Service) linkEnv(rec *Record) (env []string) {
	for _, l := range s.links(rec.HostConfig) {
		v := l.to.view()
		if ip, _, ok := s.address(&v); ok {
			env = append(env, linkVariables("/"+rec.Name+"/"+l.alias, ip, v.Config)...)
		}
	}
	return env
}

// linkVariables describe one target: its exposed ports, TCP before UDP, runs of them also by their ends, and its own
// variables.
func linkVariables(name string, ip netip.Addr, c *types.Config) (env []string) {
	alias := strings.ReplaceAll(strings.ToUpper(path.Base(name)), "-", "_")
	set := func(key, format string, a ...any) {
		env = append(env, alias+key+"="+fmt.Sprintf(format, a...))
	}
	ports := make([]netapi.Port, 0, len(c.ExposedPorts))
	for p := range c.ExposedPorts {
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b netapi.Port) int {
		if a.Proto() != b.Proto() {
			return strings.Compare(string(a.Proto()), string(b.Proto()))
		}
		return int(a.Num()) - int(b.Num())
	})
	if len(ports) > 0 {
		set("_PORT", "%s://%s:%d", ports[0].Proto(), ip, ports[0].Num())
	}
	first := 0
	for i, p := range ports {
		if last := i+1 == len(ports) || ports[i+1].Proto() != p.Proto() || ports[i+1].Num() != p.Num()+1; last {
			if first != i {
				key := portKey(ports[first])
				set(key+"_START", "%s://%s:%d", p.Proto(), ip, ports[first].Num())
				set(key+"_PORT_START", "%d", ports[first].Num())
				set(key+"_END", "%s://%s:%d", p.Proto(), ip, p.Num())
				set(key+"_PORT_END", "%d", p.Num())
			}
			first = i + 1
		}
		set(portKey(p), "%s://%s:%d", p.Proto(), ip, p.Num())
		set(portKey(p)+"_ADDR", "%s", ip)
		set(portKey(p)+"_PORT", "%d", p.Num())
		set(portKey(p)+"_PROTO", "%s", p.Proto())
	}
	set("_NAME", "%s", name)
	for _, e := range c.Env {
		if k, v, ok := strings.Cut(e, "="); ok && k != "HOME" && k != "PATH" {
			set("_ENV_"+k, "%s", v)
		}
	}
	return env
}

func portKey(p netapi.Port) string {
	return fmt.Sprintf("_PORT_%d_%s", p.Num(), strings.ToUpper(string(p.Proto())))
}

// shownLinks are HostConfig.Links as inspect has them.
func (s *Service) shownLinks(rec *Record) *types.HostConfig {
	if !linksByFile(rec.HostConfig) {
		return rec.HostConfig
	}
	hc := *rec.HostConfig
	hc.Links = nil
	for _, l := range s.links(rec.HostConfig) {
		hc.Links = append(hc.Links, "/"+l.to.name()+":/"+rec.Name+"/"+l.alias)
	}
	return &hc
}

// linkers are the containers with links to others, by the others' ids: what they call them. Nil as long as there is none.
func (s *Service) linkers() map[string][]string {
	if !s.linked.Load() {
		return nil
	}
	out := map[string][]string{}
	for _, c := range s.index.all() {
		rec := c.record()
		for _, l := range s.links(rec.HostConfig) {
			out[l.to.id()] = append(out[l.to.id()], "/"+rec.Name+"/"+l.alias)
		}
	}
	return out
}

// relink tells those that run and have a link to a container of its new address.
func (s *Service) relink(ctx context.Context, id string) {
	if !s.linked.Load() {
		return
	}
	for _, c := range s.index.all() {
		v := c.view()
		if !v.alive() || !slices.ContainsFunc(s.links(v.HostConfig), func(l link) bool { return l.to.id() == id }) {
			continue
		}
		if _, err := s.writeFiles(&v.Record, v.Run.Endpoints); err != nil {
			logging.From(ctx).Warn("a linking container does not learn the address", "container", v.ID, "op", "link", "err", err)
		}
	}
}

// ContainerUnlink removes a link, which is named PARENT/ALIAS.
func (s *Service) ContainerUnlink(ctx context.Context, ref string) error {
	parent, alias, ok := strings.Cut(strings.Trim(ref, "/"), "/")
	if !ok {
		return errdefs.InvalidArgument("Conflict, cannot remove the default link name of the container")
	}
	c, err := s.index.find(parent)
	if err != nil {
		return errdefs.InvalidArgument("could not get parent %s for an alias: %w", parent, err)
	}
	c.op.lock()
	defer c.op.unlock()
	v := c.view()
	hc := *v.HostConfig
	hc.Links = slices.DeleteFunc(slices.Clone(hc.Links), func(l string) bool {
		_, a, _ := strings.Cut(l, ":")
		return a == alias && linksByFile(v.HostConfig)
	})
	if len(hc.Links) == len(v.HostConfig.Links) {
		return errdefs.NotFound("No such link: %s", ref)
	}
	rec := v.Record
	rec.HostConfig, rec.UpdatedAt = &hc, time.Now().UTC()
	if err := s.save(ctx, &rec); err != nil {
		return fmt.Errorf("container %s: unlink: %w", rec.ID, err)
	}
	c.set(func() { c.rec.HostConfig, c.rec.UpdatedAt = rec.HostConfig, rec.UpdatedAt })
	if v.alive() {
		_, err = s.writeFiles(&rec, v.Run.Endpoints)
	}
	return err
}
