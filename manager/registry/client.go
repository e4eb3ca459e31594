// Package registry is a client of OCI registries (distribution-spec 1.1, and Docker's token authentication): it
// resolves, downloads and uploads manifests and blobs.
//
// Everything that comes back is untrusted: manifests are bounded and compared with their digests, blobs are read no
// further than their descriptors say (the content store verifies them), redirects lose the credentials, and
// neither credentials nor the queries of URLs, which may hold signatures, come into an error or a log.
package registry

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config of a Client. The zero value speaks https to every host but the loopback's.
type Config struct {
	Insecure  []string // hosts ("host:port") or networks ("10.0.0.0/8") that may speak plain http or show any certificate
	Mirrors   []string // URLs asked before docker.io
	CertDirs  []string // with a directory per registry: hosts.toml and certificates; default /etc/conex/certs.d, /etc/docker/certs.d
	UserAgent string
	Attempts  int // of each request, and of a transfer without progress; default 5
	Timeouts  Timeouts
}

// Timeouts bound the waits of a Client; a zero field is its default.
type Timeouts struct {
	Dial     time.Duration // default 15 s
	Response time.Duration // from the request to its header, default 60 s
	Stall    time.Duration // without a byte of a body, default 60 s
	Backoff  time.Duration // before the second attempt, doubled for each more, default 250 ms
}

// Credentials of one user. RegistryToken is a bearer token as it is; IdentityToken a refresh token of the token server.
type Credentials struct {
	Username, Password, IdentityToken, RegistryToken string
}

func (c Credentials) empty() bool { return c == Credentials{} }

// Client keeps connections and tokens for all registries. It is safe for concurrent use.
type Client struct {
	config Config

	mu        sync.Mutex
	networks  []netip.Prefix  // insecure
	hosts     map[string]bool // insecure by name
	mirrors   []string
	endpoints map[[32]byte]*endpoint // by a hash of their host
	tokens    map[tokenKey]token
}

const (
	dockerDomain = "docker.io"
	dockerHost   = "registry-1.docker.io" // the registry that docker.io names
)

// New returns a Client.
func New(config Config) *Client {
	c := &Client{config: config, tokens: map[tokenKey]token{}}
	c.SetTrust(config.Insecure, config.Mirrors)
	if len(c.config.CertDirs) == 0 {
		c.config.CertDirs = []string{"/etc/conex/certs.d", "/etc/docker/certs.d"}
	}
	if c.config.UserAgent == "" {
		c.config.UserAgent = "conex"
	}
	if c.config.Attempts <= 0 {
		c.config.Attempts = attempts
	}
	t := &c.config.Timeouts
	t.Dial = orDefault(t.Dial, 15*time.Second)
	t.Response = orDefault(t.Response, time.Minute)
	t.Stall = orDefault(t.Stall, time.Minute)
	t.Backoff = orDefault(t.Backoff, 250*time.Millisecond)
	return c
}

// SetTrust replaces the Config's Insecure and Mirrors. What is under way goes on as it began.
func (c *Client) SetTrust(insecure, mirrors []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.networks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	c.hosts = map[string]bool{}
	for _, s := range insecure {
		if p, err := netip.ParsePrefix(s); err == nil {
			c.networks = append(c.networks, p.Masked())
		} else {
			c.hosts[s] = true
		}
	}
	c.mirrors = slices.Clone(mirrors)
	c.endpoints = map[[32]byte]*endpoint{} // each knows how it may be spoken to; idle connections close by themselves
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// insecure reports whether host ("name[:port]") was configured so, or is in the loopback network, as Docker has it.
// Names other than localhost are not looked up: a name server must not decide about encryption.
func (c *Client) insecure(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trusts(host)
}

// trusts is insecure; the lock is held.
func (c *Client) trusts(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	if name == "localhost" || c.hosts[host] || c.hosts[name] {
		return true
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	for _, p := range c.networks {
		if p.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// Repository is one repository of one registry, and its mirrors, with one user's credentials.
type Repository struct {
	client    *Client
	domain    string
	path      string
	creds     Credentials
	file      string // the registry's hosts.toml, "" when there is none
	endpoints []*endpoint
	err       error // of the registry's configuration: it comes with the first request
}

// Repository returns the repository path ("library/nginx") at domain ("docker.io", "localhost:5000"), both parsed
// by the caller. The registry's configuration is read now, and only now; nothing is sent yet.
func (c *Client) Repository(domain, path string, creds Credentials) *Repository {
	r := &Repository{client: c, domain: domain, path: path, creds: creds}
	way, err := c.route(domain)
	if err != nil {
		r.err = err
		return r
	}
	r.file = way.file
	for _, h := range way.hosts {
		r.endpoints = append(r.endpoints, c.endpointFor(h))
	}
	return r
}

// origin is the registry itself.
func (r *Repository) origin() *endpoint {
	if len(r.endpoints) == 0 {
		return &endpoint{client: r.client, spec: &host{}, host: originOf(r.domain)} // for errors only
	}
	return r.endpoints[len(r.endpoints)-1]
}

// credentials for ep: a mirror never gets those of the registry that it mirrors, only what its file has for it.
func (r *Repository) credentials(ep *endpoint) Credentials {
	if ep.spec.mirror || r.creds.empty() {
		return ep.spec.auth
	}
	return r.creds
}
