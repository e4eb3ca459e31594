package client

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/conex-containers/conex/api/docker"
)

// Ping is what GET /_ping tells in its headers.
type Ping struct {
	APIVersion     string
	OSType         string
	BuilderVersion string
	Experimental   bool
}

// Ping asks the engine for its API version; it is the one request that needs none itself.
func (c *Client) Ping(ctx context.Context) (Ping, error) {
	res, err := c.do(ctx, request{method: http.MethodGet, path: "/_ping", bare: true})
	if err != nil {
		return Ping{}, err
	}
	h := res.Header
	_, _ = res.Body.Read(make([]byte, 64))
	return Ping{
		APIVersion:     h.Get("Api-Version"),
		OSType:         h.Get("Ostype"),
		BuilderVersion: h.Get("Builder-Version"),
		Experimental:   h.Get("Docker-Experimental") == "true",
	}, res.Body.Close()
}

// negotiate lowers the version to the engine's. It is only asked for after a request was refused for its version:
// docker's client pings before every command instead, which doubles its round trips.
func (c *Client) negotiate(ctx context.Context) error {
	p, err := c.Ping(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.APIVersion == "" {
		p.APIVersion = docker.MinVersion
	}
	if VersionLess(p.APIVersion, c.version) {
		c.version = p.APIVersion
	}
	return nil
}

// versionRefused knows dockerd's two refusals, "client version X is too new" and "client version X is too old".
func versionRefused(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusBadRequest && strings.HasPrefix(e.Message, "client version ")
}

// VersionLess reports whether API version a ("1.41") is older than b.
func VersionLess(a, b string) bool {
	am, an := splitVersion(a)
	bm, bn := splitVersion(b)
	return am < bm || am == bm && an < bn
}

// legacy is the last API version whose answers have what the command line prints and scripts read: the default
// network's address of a container, and each object of the disk usage.
const legacy = "1.51"

// lowest is the older of the client's version and the newest one wanted.
func lowest(version, most string) string {
	if most != "" && VersionLess(most, version) {
		return most
	}
	return version
}

func splitVersion(v string) (major, minor int) {
	a, b, _ := strings.Cut(v, ".")
	major, _ = strconv.Atoi(a)
	minor, _ = strconv.Atoi(b)
	return major, minor
}
