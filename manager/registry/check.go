package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/conex-containers/conex/api/docker"
	"github.com/conex-containers/conex/base/errdefs"
)

// Check tries what a pull from the repository (with path "" from any of the registry) would do, with each host for
// itself. What fails is in the answer, never an error; no credentials are in it.
func (c *Client) Check(ctx context.Context, domain, path string, creds Credentials) docker.RegistryCheck {
	r := c.Repository(domain, path, creds)
	report := docker.RegistryCheck{Registry: domain, Repository: path, File: r.file}
	if r.file == "" {
		report.Searched = c.config.CertDirs
	}
	if r.err != nil {
		report.Error = r.err.Error()
		return report
	}
	works := ability(0)
	for _, ep := range r.endpoints {
		h := r.checkHost(ctx, ep)
		if h.OK {
			works |= ep.spec.can
		}
		report.Hosts = append(report.Hosts, h)
	}
	report.OK = works&canPull != 0 && works&canResolve != 0
	return report
}

func (r *Repository) checkHost(ctx context.Context, ep *endpoint) docker.RegistryHost {
	h := ep.spec
	out := docker.RegistryHost{
		URL: h.url, Mirror: h.mirror, Credentials: "none", Authorities: h.ca,
		Headers: slices.Sorted(maps.Keys(h.header)), Unverified: h.skip || h.lax && len(h.ca) == 0,
	}
	for _, a := range abilityNames {
		if h.can&a.ability != 0 {
			out.Capabilities = append(out.Capabilities, a.name)
		}
	}
	for _, files := range h.client {
		out.Certificates = append(out.Certificates, files[0])
	}
	switch creds := r.credentials(ep); {
	case creds.empty():
	case creds == h.auth:
		out.Credentials = "hosts.toml"
	default:
		out.Credentials = "client"
	}
	k := &hostCheck{repo: r, ep: ep, out: &out}
	out.OK = k.run(ctx)
	return out
}

// hostCheck goes through the steps of one host.
type hostCheck struct {
	repo *Repository
	ep   *endpoint
	out  *docker.RegistryHost
}

func (k *hostCheck) say(name string, ok bool, format string, a ...any) bool {
	k.out.Steps = append(k.out.Steps, docker.RegistryStep{Name: name, OK: ok, Text: fmt.Sprintf(format, a...)})
	return ok
}

func (k *hostCheck) run(ctx context.Context) bool {
	scheme, hc, err := k.ep.connect(ctx)
	if err != nil {
		return k.say("connect", false, "%s", err)
	}
	k.out.URL = scheme + "://" + k.ep.host + k.ep.spec.prefix
	resp, ok := k.ping(ctx, hc)
	if !ok {
		return false
	}
	if !k.auth(ctx, resp) {
		return false
	}
	return k.repo.path == "" || k.ep.spec.can&(canPull|canResolve) == 0 || k.repository(ctx)
}

// ping asks for /v2/ (distribution-spec, "Determining Support") and tells how the host was reached.
func (k *hostCheck) ping(ctx context.Context, hc *http.Client) (*http.Response, bool) {
	address := ""
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { address = i.Conn.RemoteAddr().String() }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, k.out.URL+"/", nil)
	if err != nil {
		return nil, k.say("connect", false, "%s", stripURL(err))
	}
	req.Header.Set("User-Agent", k.repo.client.config.UserAgent)
	for name, values := range k.ep.spec.header {
		req.Header[name] = values
	}
	way := ""
	if proxy, err := http.ProxyFromEnvironment(req); err == nil && proxy != nil {
		way = " by the proxy " + proxy.Host
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, k.say("connect", false, "%s%s", k.repo.broken(k.ep, stripURL(err)), way)
	}
	drain(resp)
	k.say("connect", true, "%s%s", address, way)
	if resp.TLS == nil {
		k.say("tls", true, "none: plain http")
	} else {
		k.say("tls", true, "%s", describeTLS(resp.TLS, k.out.Unverified))
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return resp, k.say("ping", true, "HTTP 200%s", apiVersion(resp))
	case resp.StatusCode == http.StatusUnauthorized:
		return resp, k.say("ping", true, "HTTP 401%s: it wants authentication", apiVersion(resp))
	case resp.StatusCode == http.StatusNotFound:
		return nil, k.say("ping", false, "HTTP 404: nothing that speaks the distribution API is at %s/", k.out.URL)
	case isRedirect(resp.StatusCode):
		return nil, k.say("ping", false, "HTTP %d: it redirects elsewhere: is this the registry's address?", resp.StatusCode)
	}
	return nil, k.say("ping", false, "HTTP %d", resp.StatusCode)
}

func apiVersion(resp *http.Response) string {
	if v := resp.Header.Get("Docker-Distribution-Api-Version"); v != "" {
		return ", " + printable(v[:min(len(v), 64)])
	}
	return ""
}

func describeTLS(state *tls.ConnectionState, unverified bool) string {
	text := tls.VersionName(state.Version)
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		text += fmt.Sprintf(", certificate of %q by %q until %s", printable(cert.Subject.String()), printable(cert.Issuer.String()), cert.NotAfter.UTC().Format(time.DateOnly))
	}
	if unverified {
		return text + ", not verified"
	}
	return text + ", verified"
}

// auth does what the challenge asks for.
func (k *hostCheck) auth(ctx context.Context, resp *http.Response) bool {
	if resp.StatusCode == http.StatusOK {
		return k.say("auth", true, "none is asked for")
	}
	ch := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	creds := k.repo.credentials(k.ep)
	switch {
	case ch == nil:
		return k.say("auth", false, "it asks for an authentication that is not known here: %q", printable(strings.Join(resp.Header.Values("WWW-Authenticate"), ", ")))
	case creds.RegistryToken != "":
		return k.say("auth", true, "a token of the client's, as it is")
	case ch.scheme == "basic" && creds.Username == "":
		return k.say("auth", false, "basic: there are no credentials: conex login %s", k.repo.domain)
	case ch.scheme == "basic":
		return k.basic(ctx, creds)
	}
	where := ch.realm
	if u, err := url.Parse(ch.realm); err == nil {
		where = u.Scheme + "://" + u.Host + u.Path
	}
	where = fmt.Sprintf("bearer: token server %s, service %q", printable(where), printable(ch.service))
	var scopes []string
	if k.repo.path != "" {
		scopes = []string{k.repo.scopePull()}
	}
	if _, _, err := k.repo.client.fetchToken(ctx, k.ep, ch, scopes, creds, false); err != nil {
		return k.say("auth", false, "%s: %s", where, err)
	}
	as := "anonymous"
	if creds.Username != "" {
		as = "as " + creds.Username
	}
	return k.say("auth", true, "%s: token received, %s", where, as)
}

func (k *hostCheck) basic(ctx context.Context, creds Credentials) bool {
	_, hc, err := k.ep.connect(ctx)
	if err != nil {
		return k.say("auth", false, "%s", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.out.URL+"/", nil)
	if err != nil {
		return k.say("auth", false, "%s", stripURL(err))
	}
	req.SetBasicAuth(creds.Username, creds.Password)
	resp, err := hc.Do(req)
	if err != nil {
		return k.say("auth", false, "basic: %s", stripURL(err))
	}
	drain(resp)
	if resp.StatusCode != http.StatusOK {
		return k.say("auth", false, "basic: HTTP %d: wrong username or password for %s: conex login %s", resp.StatusCode, creds.Username, k.repo.domain)
	}
	return k.say("auth", true, "basic: accepted, as %s", creds.Username)
}

// repository asks for one tag.
func (k *hostCheck) repository(ctx context.Context) bool {
	resp, err := k.repo.do(ctx, k.ep, call{method: http.MethodGet, path: "tags/list?n=1", scope: []string{k.repo.scopePull()}})
	if errdefs.IsNotFound(err) {
		return k.say("repository", false, "%s is not there: %s", k.repo.path, err)
	}
	if err != nil {
		return k.say("repository", false, "%s", err)
	}
	defer drain(resp)
	var page struct{ Tags []string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPage)).Decode(&page); err != nil {
		return k.say("repository", false, "%s: its list of tags cannot be read: %s", k.repo.path, err)
	}
	if len(page.Tags) == 0 {
		return k.say("repository", true, "%s: readable, without tags", k.repo.path)
	}
	return k.say("repository", true, "%s: readable, its first tag is %q", k.repo.path, printable(page.Tags[0]))
}
