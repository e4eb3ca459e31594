package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// endpoint is one host that speaks the distribution API.
type endpoint struct {
	client   *Client
	host     string // host[:port]
	prefix   string // path before /v2, of mirrors
	isMirror bool
	insecure bool

	mu        sync.Mutex
	scheme    string // "" until known
	http      *http.Client
	challenge *challenge // the last one it asked with
}

func (c *Client) endpoint(host string) *endpoint { return c.endpointFor(host, host, "", "", false) }

// mirror returns the endpoint of a mirror's URL ("https://host[:port][/path]").
func (c *Client) mirror(url string) *endpoint {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		scheme, rest = "", url
	}
	host, prefix, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if prefix != "" {
		prefix = "/" + prefix
	}
	return c.endpointFor("mirror "+url, host, scheme, prefix, true)
}

func (c *Client) endpointFor(key, host, scheme, prefix string, isMirror bool) *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	ep, ok := c.endpoints[key]
	if !ok {
		ep = &endpoint{client: c, host: host, scheme: scheme, prefix: prefix, isMirror: isMirror, insecure: c.trusts(host)}
		c.endpoints[key] = ep
	}
	return ep
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
		ep.http = ep.client.newHTTP(conf)
	}
	if ep.scheme == "" {
		ep.scheme = "https"
		if ep.insecure && !ep.speaksTLS(ctx) {
			ep.scheme = "http"
		}
	}
	return ep.scheme, ep.http, nil
}

// forgetScheme makes the next request look again: the host did not answer.
func (ep *endpoint) forgetScheme() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.insecure && !ep.isMirror {
		ep.scheme = ""
	}
}

func (ep *endpoint) speaksTLS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+ep.host+"/v2/", nil)
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

func (c *Client) newHTTP(conf *tls.Config) *http.Client {
	t := c.config.Timeouts
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

// tls reads the host's certificates: *.crt are authorities besides the system's, *.cert with *.key the client's own.
func (ep *endpoint) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: ep.insecure} //nolint:gosec // the administrator's list
	for _, base := range ep.client.config.CertDirs {
		dir := filepath.Join(base, ep.host)
		files, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("registry %s: certificates: %w", ep.host, err)
		}
		for _, f := range files {
			if err := addCertificate(conf, filepath.Join(dir, f.Name())); err != nil {
				return nil, fmt.Errorf("registry %s: certificates: %w", ep.host, err)
			}
		}
		break
	}
	return conf, nil
}

func addCertificate(conf *tls.Config, file string) error {
	switch filepath.Ext(file) {
	case ".crt":
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if conf.RootCAs == nil {
			if conf.RootCAs, err = x509.SystemCertPool(); err != nil {
				conf.RootCAs = x509.NewCertPool()
			}
		}
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no PEM certificate", file)
		}
		conf.InsecureSkipVerify = false // there is an authority to verify with
	case ".cert":
		pair, err := tls.LoadX509KeyPair(file, strings.TrimSuffix(file, ".cert")+".key")
		if err != nil {
			return err
		}
		conf.Certificates = append(conf.Certificates, pair)
	}
	return nil
}

// drain reads the rest of a small body, so that the connection can be used again, and closes it.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}
