package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// route is where a registry's requests go, in this order; the last one is the registry itself.
type route struct {
	dir   string // of the registry's file and certificates, "" when there is none
	file  string // hosts.toml, "" when there is none
	hosts []*host
}

// originOf is the host that speaks for a registry's name.
func originOf(domain string) string {
	if domain == dockerDomain {
		return dockerHost
	}
	return domain
}

// route reads the configuration of domain as it is now.
func (c *Client) route(domain string) (route, error) {
	r := route{}
	var err error
	if r.dir, err = c.directory(domain); err != nil {
		return r, err
	}
	if r.dir == "" && domain == dockerDomain { // where dockerd's users put the Hub's certificates
		if r.dir, err = c.directory(dockerHost); err != nil {
			return r, err
		}
	}
	if r.dir != "" {
		if r.hosts, err = readHosts(r.dir, domain); err != nil {
			return r, err
		}
	}
	if r.hosts == nil {
		r.hosts = []*host{{url: domain, name: originOf(domain), prefix: "/v2", can: canPull | canResolve | canPush}}
	} else {
		r.file = filepath.Join(r.dir, hostsFile)
	}
	if domain == dockerDomain {
		r.addMirrors(c)
	}
	if r.dir != "" && filepath.Base(r.dir) != defaultHosts {
		if err := r.hosts[len(r.hosts)-1].addCertificates(r.dir); err != nil {
			return r, fmt.Errorf("registry %s: certificates: %w", domain, err)
		}
	}
	for _, h := range r.hosts {
		h.lax = c.insecure(h.name)
		h.stampFiles()
	}
	return r, nil
}

// addMirrors puts the daemon's --registry-mirror between the mirrors of docker.io's file and the Hub.
func (r *route) addMirrors(c *Client) {
	c.mu.Lock()
	mirrors := c.mirrors
	c.mu.Unlock()
	last := r.hosts[len(r.hosts)-1]
	r.hosts = r.hosts[:len(r.hosts)-1]
	for _, m := range mirrors {
		h := &host{url: m, mirror: true, can: canPull | canResolve}
		scheme, rest, ok := strings.Cut(m, "://")
		if !ok {
			scheme, rest = "", m
		}
		name, prefix, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
		if prefix != "" {
			prefix = "/" + prefix
		}
		h.scheme, h.name, h.prefix = scheme, name, prefix+"/v2"
		r.hosts = append(r.hosts, h)
	}
	r.hosts = append(r.hosts, last)
}

// addCertificates takes what dockerd's layout has in a registry's directory: *.crt are authorities besides the system's,
// *.cert with *.key the client's own.
func (h *host) addCertificates(dir string) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		file := filepath.Join(dir, f.Name())
		switch filepath.Ext(file) {
		case ".crt":
			h.ca = append(h.ca, file)
		case ".cert":
			h.client = append(h.client, [2]string{file, strings.TrimSuffix(file, ".cert") + ".key"})
		}
	}
	return nil
}

// stampFiles notes which versions of its files a host speaks with.
func (h *host) stampFiles() {
	files := h.ca
	for _, pair := range h.client {
		files = append(files[:len(files):len(files)], pair[0], pair[1])
	}
	var b strings.Builder
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			fmt.Fprintf(&b, "%s %d %d;", f, st.Size(), st.ModTime().UnixNano())
		}
	}
	h.stamp = b.String()
}

// who returns the endpoints that may do what is asked for, in the order of asking: mirrors that did not answer come last.
func (r *Repository) who(what ability) ([]*endpoint, error) {
	if r.err != nil {
		return nil, r.err
	}
	var list, resting []*endpoint
	for _, ep := range r.endpoints {
		switch {
		case ep.spec.can&what == 0:
		case what != canPush && ep.rests():
			resting = append(resting, ep)
		default:
			list = append(list, ep)
		}
	}
	if list = append(list, resting...); len(list) > 0 {
		return list, nil
	}
	for _, a := range abilityNames {
		if what == a.ability {
			return nil, errdefs.FailedPrecondition("registry %s: %s gives no host the capability %q", r.domain, r.file, a.name)
		}
	}
	return nil, errdefs.FailedPrecondition("registry %s: %s gives no host a capability", r.domain, r.file)
}

// target is the endpoint to push to.
func (r *Repository) target() (*endpoint, error) {
	list, err := r.who(canPush)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}
