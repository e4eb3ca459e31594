package client

import (
	"net"
	"strings"

	"github.com/conex-containers/conex/base/errdefs"
)

// Endpoint is a parsed engine address: what net.Dial takes.
type Endpoint struct {
	Network string // unix | tcp
	Address string // path, or host:port
}

// ParseHost reads an engine address in the forms that docker -H takes: unix:///path, tcp://host[:port] (also http://
// and https://). The port is 2375 when it is left out, 2376 with TLS, as IANA assigned them.
func ParseHost(host string, withTLS bool) (Endpoint, error) {
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		return Endpoint{}, errdefs.InvalidArgument("unable to parse docker host `%s`: use unix:///path/to.sock or tcp://host:port", host)
	}
	switch scheme {
	case "unix":
		if rest == "" {
			return Endpoint{}, errdefs.InvalidArgument("engine address %q has no path: use unix:///path/to.sock", host)
		}
		return Endpoint{Network: "unix", Address: rest}, nil
	case "tcp", "http", "https":
		return parseTCP(host, rest, withTLS || scheme == "https")
	case "ssh", "npipe", "fd":
		return Endpoint{}, errdefs.InvalidArgument("engine address %q: %s:// is not supported: use unix:///path/to.sock or tcp://host:port", host, scheme)
	}
	return Endpoint{}, errdefs.InvalidArgument("engine address %q: unknown scheme %q: use unix:// or tcp://", host, scheme)
}

func parseTCP(host, rest string, withTLS bool) (Endpoint, error) {
	rest = strings.TrimSuffix(rest, "/")
	if strings.Contains(rest, "/") {
		return Endpoint{}, errdefs.InvalidArgument("engine address %q: a path is not supported", host)
	}
	port := "2375"
	if withTLS {
		port = "2376"
	}
	h, p, err := net.SplitHostPort(rest)
	if err != nil { // no port: the whole is the host
		h, p = strings.Trim(rest, "[]"), port
	}
	if h == "" {
		h = "localhost"
	}
	if p == "" {
		p = port
	}
	return Endpoint{Network: "tcp", Address: net.JoinHostPort(h, p)}, nil
}
