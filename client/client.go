// Package client is the Go client of the Docker Engine REST API, as conexd and dockerd serve it.
//
// It speaks HTTP/1.1 over connections of its own (unix, tcp, tls) instead of through http.Transport: one request
// costs no goroutine, an idle connection is used again, and a hijacked stream is simply a connection that is not
// given back.
//
//	request ──▶ connect (idle or dialled) ──▶ write ──▶ read the head ──▶ body ──▶ Close gives the connection back
//	                                                       └─ 101 Switching Protocols: Stream owns the connection
package client

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/conex-containers/conex/api/docker"
)

// Options of New. Only Host must be set.
type Options struct {
	// Host is where the engine listens: unix:///path, tcp://host:port.
	Host string
	// TLS, when not nil, wraps tcp connections.
	TLS *tls.Config
	// Version pins the API version ("1.44"); "" speaks ours and steps down when the engine is older.
	Version string
	// UserAgent is told to the engine.
	UserAgent string
	// Launch, when not nil, is called once when nothing listens at Host (its socket is absent or refuses). When it
	// returns nil the engine was started, and the connection is tried again.
	Launch func(ctx context.Context) error
}

// Client talks to one engine. It is safe for concurrent use: each request in flight has its own connection.
type Client struct {
	opts     Options
	endpoint Endpoint
	launch   sync.Once
	lerr     error

	mu      sync.Mutex
	version string // the API version that requests are sent with
	idle    []*conn
}

// New returns a client; it does not connect yet.
func New(o Options) (*Client, error) {
	ep, err := ParseHost(o.Host, o.TLS != nil)
	if err != nil {
		return nil, err
	}
	v := o.Version
	if v == "" {
		v = docker.DefaultVersion
	}
	return &Client{opts: o, endpoint: ep, version: v}, nil
}

// Host returns the address as it was given to New.
func (c *Client) Host() string { return c.opts.Host }

// Version returns the API version that requests are sent with now.
func (c *Client) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Close drops the idle connections. Requests in flight are not touched.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.idle {
		_ = k.Close()
	}
	c.idle = nil
	return nil
}

// dial opens a fresh connection, starting the engine when Options.Launch knows how.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	nc, err := c.dialOnce(ctx)
	if err == nil || c.opts.Launch == nil || !refused(err) {
		return nc, c.explain(err)
	}
	c.launch.Do(func() { c.lerr = c.opts.Launch(ctx) })
	if c.lerr != nil {
		return nil, c.lerr
	}
	nc, err = c.dialOnce(ctx)
	return nc, c.explain(err)
}

func (c *Client) dialOnce(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, c.endpoint.Network, c.endpoint.Address)
	if err != nil || c.opts.TLS == nil {
		return nc, err
	}
	cfg := c.opts.TLS
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(c.endpoint.Address)
	}
	tc := tls.Client(nc, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}
