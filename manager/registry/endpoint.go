package registry

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// endpoint is one host that speaks the distribution API, with its connections.
type endpoint struct {
	client *Client
	spec   *host
	host   string // host[:port]

	mu        sync.Mutex
	scheme    string // "" until known
	http      *http.Client
	challenge *challenge // the last one it asked with
	resting   time.Time  // of a mirror: the others are asked before it until then
}

const maxEndpoints = 1024

// endpointFor returns the endpoint of a host that is configured so; one with another configuration is another endpoint.
func (c *Client) endpointFor(h *host) *endpoint {
	key := sha256.Sum256(fmt.Appendf(nil, "%q", fmt.Sprintf("%+v", *h)))
	c.mu.Lock()
	defer c.mu.Unlock()
	ep, ok := c.endpoints[key]
	if !ok {
		if len(c.endpoints) >= maxEndpoints {
			clear(c.endpoints)
		}
		ep = &endpoint{client: c, spec: h, host: h.name, scheme: h.scheme}
		c.endpoints[key] = ep
	}
	return ep
}

// tokenServer is the endpoint of a host that gives tokens: with the certificates that are configured for it.
func (c *Client) tokenServer(name string) (*endpoint, error) {
	way, err := c.route(name)
	if err != nil {
		return nil, err
	}
	if last := way.hosts[len(way.hosts)-1]; last.name == name {
		return c.endpointFor(last), nil
	}
	return c.endpointFor(&host{name: name, prefix: "/v2", lax: c.insecure(name)}), nil
}

// connect makes the HTTP client on first use and finds out whether an insecure host speaks TLS: https is tried
// first, as Docker does, so that a host that can encrypt does.
func (ep *endpoint) connect(ctx context.Context) (string, *http.Client, error) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.http == nil {
		conf, err := ep.tls()
		if err != nil {
			return "", nil, err
		}
		ep.http = ep.client.newHTTP(conf, ep.spec.dial)
	}
	if ep.scheme == "" {
		ep.scheme = "https"
		if ep.spec.lax && !ep.speaksTLS(ctx) {
			ep.scheme = "http"
		}
	}
	return ep.scheme, ep.http, nil
}

// forgetScheme makes the next request look again: the host did not answer.
func (ep *endpoint) forgetScheme() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.spec.lax && ep.spec.scheme == "" {
		ep.scheme = ""
	}
}

// rest lets the others go first for a while when err says that a mirror does not answer: not each blob waits for it.
func (ep *endpoint) rest(err error) {
	if ep.spec.mirror && Interrupted(err) {
		ep.mu.Lock()
		defer ep.mu.Unlock()
		ep.resting = time.Now().Add(mirrorPause)
	}
}

func (ep *endpoint) rests() bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return time.Now().Before(ep.resting)
}

func (ep *endpoint) speaksTLS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+ep.host+ep.spec.prefix+"/", nil)
	if err != nil {
		return false
	}
	resp, err := ep.http.Do(req)
	if err != nil {
		return false
	}
	drain(resp)
	return true
}

func (c *Client) newHTTP(conf *tls.Config, dial time.Duration) *http.Client {
	t := c.config.Timeouts
	t.Dial = orDefault(dial, t.Dial)
	dialer := &net.Dialer{Timeout: t.Dial, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
			TLSClientConfig: conf, TLSHandshakeTimeout: t.Dial, ResponseHeaderTimeout: t.Response,
			MaxIdleConnsPerHost: 8, IdleConnTimeout: 20 * time.Second, ForceAttemptHTTP2: true,
			DisableCompression: true, // a blob is the bytes that its digest names, whatever they are
			ReadBufferSize:     128 << 10, WriteBufferSize: 128 << 10, MaxResponseHeaderBytes: 256 << 10,
		},
		// Redirects are followed by hand, without the credentials.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// tls reads the certificates that the host's configuration names.
func (ep *endpoint) tls() (*tls.Config, error) {
	h := ep.spec
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: h.skip || h.lax && len(h.ca) == 0, //nolint:gosec // the administrator's choice; an authority is there to verify with
	}
	for _, file := range h.ca {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("registry %s: certificates: %w", ep.host, err)
		}
		if conf.RootCAs == nil {
			if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
				conf.RootCAs = x509.NewCertPool()
			}
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errdefs.FailedPrecondition("registry %s: certificates: %s holds no PEM certificate", ep.host, file)
		}
	}
	for _, files := range h.client {
		pair, err := tls.LoadX509KeyPair(files[0], files[1])
		if err != nil {
			return nil, fmt.Errorf("registry %s: certificates: %w", ep.host, err)
		}
		conf.Certificates = append(conf.Certificates, pair)
	}
	return conf, nil
}

// drain reads the rest of a small body, so that the connection can be used again, and closes it.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}
