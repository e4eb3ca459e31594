package volume

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
	"github.com/conex-containers/conex/base/ids"
)

// Bounds of a plugin's answers.
const (
	pluginBound  = 2 * time.Minute
	pluginAnswer = 1 << 20
	pluginMedia  = "application/vnd.docker.plugins.v1.2+json"
)

// DefaultPluginDirs are where Docker looks for plugins: sockets in the first, files that name an address in the others.
func DefaultPluginDirs() []string {
	return []string{"/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"}
}

// plugins are the volume drivers that are processes of their own and speak Docker's first plugin protocol: a POST of JSON
// to /VolumeDriver.Create, Mount, Unmount, Remove, Get, over a unix socket or TCP.
//
//	/run/docker/plugins/NAME.sock, NAME/NAME.sock    the socket itself
//	/etc/docker/plugins/NAME.spec                    one line: unix:///path or tcp://host:port
//	/etc/docker/plugins/NAME.json                    {"Addr": "...", "TLSConfig": {...}}
type plugins struct {
	dirs []string

	mu     sync.Mutex
	active map[string]*plugin
}

// plugin is one that has said that it is a volume driver.
type plugin struct {
	name   string
	base   string // URL in front of the method
	client *http.Client
}

// address is what a .json file says.
type address struct {
	Addr      string
	TLSConfig *struct {
		InsecureSkipVerify        bool
		CAFile, CertFile, KeyFile string
	}
}

// names lists the plugins that there are, whatever they do.
func (p *plugins) names() []string {
	var out []string
	for _, dir := range p.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := e.Name()
			if !e.IsDir() {
				name = strings.TrimSuffix(name, filepath.Ext(name))
			}
			if _, err := p.locate(name); err == nil && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// locate finds out where a plugin listens.
func (p *plugins) locate(name string) (address, error) {
	if ids.CheckName("plugin name", name) != nil {
		return address{}, errdefs.NotFound("plugin %q not found", name)
	}
	for _, dir := range p.dirs {
		for _, path := range []string{filepath.Join(dir, name+".sock"), filepath.Join(dir, name, name+".sock")} {
			if fi, err := os.Stat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
				return address{Addr: "unix://" + path}, nil
			}
		}
		for _, base := range []string{filepath.Join(dir, name), filepath.Join(dir, name, name)} {
			if data, err := os.ReadFile(base + ".spec"); err == nil {
				return address{Addr: strings.TrimSpace(string(data))}, nil
			}
			if data, err := os.ReadFile(base + ".json"); err == nil {
				var a address
				if err := json.Unmarshal(data, &a); err != nil {
					return a, fmt.Errorf("plugin %s: %s.json: %w", name, base, err)
				}
				return a, nil
			}
		}
	}
	return address{}, errdefs.NotFound("plugin %q not found", name)
}

// get returns a plugin, which at its first use is asked what it is.
func (p *plugins) get(ctx context.Context, name string) (*plugin, error) {
	p.mu.Lock()
	pl := p.active[name]
	p.mu.Unlock()
	if pl != nil {
		return pl, nil
	}
	a, err := p.locate(name)
	if err != nil {
		return nil, err
	}
	if pl, err = connect(name, a); err != nil {
		return nil, err
	}
	var is struct{ Implements []string }
	if err := pl.call(ctx, "/Plugin.Activate", nil, &is); err != nil {
		return nil, err
	}
	if !slices.Contains(is.Implements, "VolumeDriver") {
		return nil, errdefs.InvalidArgument("plugin %q does not implement the requested plugin type VolumeDriver: it has %v", name, is.Implements)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active[name] = pl
	return pl, nil
}

func connect(name string, a address) (*plugin, error) {
	u, err := url.Parse(a.Addr)
	if err != nil {
		return nil, errdefs.InvalidArgument("plugin %s: address %q: %w", name, a.Addr, err)
	}
	t := &http.Transport{MaxIdleConns: 2, IdleConnTimeout: time.Minute}
	p := &plugin{name: name, client: &http.Client{Transport: t}}
	switch u.Scheme {
	case "unix":
		p.base = "http://plugin"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", u.Path)
		}
	case "tcp", "http", "https":
		p.base = "http://" + u.Host
		if a.TLSConfig != nil || u.Scheme == "https" {
			p.base = "https://" + u.Host
			if t.TLSClientConfig, err = a.tls(); err != nil {
				return nil, fmt.Errorf("plugin %s: %w", name, err)
			}
		}
	default:
		return nil, errdefs.InvalidArgument("plugin %s: address %q: use unix:// or tcp://", name, a.Addr)
	}
	return p, nil
}

func (a *address) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	o := a.TLSConfig
	if o == nil {
		return c, nil
	}
	c.InsecureSkipVerify = o.InsecureSkipVerify
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate", o.CAFile)
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// call asks the plugin; its own word of what went wrong is in the member Err of the answer.
func (p *plugin) call(ctx context.Context, method string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, pluginBound)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", pluginMedia)
	req.Header.Set("Accept", pluginMedia)
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("plugin %s: %s: %w", p.name, method, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, pluginAnswer))
	if err != nil {
		return fmt.Errorf("plugin %s: %s: %w", p.name, method, err)
	}
	var failed struct{ Err string }
	decoded := json.Unmarshal(data, &failed)
	switch {
	case failed.Err != "":
		return fmt.Errorf("VolumeDriver.%s: %s", method[strings.IndexByte(method, '.')+1:], failed.Err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("plugin %s: %s: status %s: %.200s", p.name, method, resp.Status, data)
	case decoded != nil || out == nil:
		return decoded
	}
	return json.Unmarshal(data, out)
}

// pluginRequest is what the methods take.
type pluginRequest struct {
	Name string
	ID   string            `json:",omitempty"`
	Opts map[string]string `json:",omitempty"`
}

// create makes a volume; one that the driver has already is taken as it is.
func (p *plugins) create(ctx context.Context, v *Volume) error {
	pl, err := p.get(ctx, v.Driver)
	if err != nil {
		return fmt.Errorf("error looking up volume plugin %s: %w", v.Driver, err)
	}
	if err := pl.call(ctx, "/VolumeDriver.Get", pluginRequest{Name: v.Name}, nil); err == nil {
		return nil
	}
	return pl.call(ctx, "/VolumeDriver.Create", pluginRequest{Name: v.Name, Opts: v.Options}, nil)
}

func (p *plugins) remove(ctx context.Context, v *Volume) error {
	pl, err := p.get(ctx, v.Driver)
	if err != nil {
		return err
	}
	return pl.call(ctx, "/VolumeDriver.Remove", pluginRequest{Name: v.Name}, nil)
}

func (p *plugins) mount(ctx context.Context, v *Volume, run string) (string, error) {
	var out struct{ Mountpoint string }
	pl, err := p.get(ctx, v.Driver)
	if err == nil {
		err = pl.call(ctx, "/VolumeDriver.Mount", pluginRequest{Name: v.Name, ID: run}, &out)
	}
	if err == nil && !filepath.IsAbs(out.Mountpoint) {
		err = fmt.Errorf("VolumeDriver.Mount: %q is no absolute path", out.Mountpoint)
	}
	if err != nil {
		return "", fmt.Errorf("error while mounting volume '%s': %w", v.Name, err)
	}
	return filepath.Clean(out.Mountpoint), nil
}

func (p *plugins) unmount(ctx context.Context, v *Volume, run string) error {
	pl, err := p.get(ctx, v.Driver)
	if err == nil {
		err = pl.call(ctx, "/VolumeDriver.Unmount", pluginRequest{Name: v.Name, ID: run}, nil)
	}
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name, err)
	}
	return nil
}

// status is what a driver tells of a volume for inspect.
func (p *plugins) status(ctx context.Context, v *Volume) (mountpoint string, status map[string]any) {
	var out struct {
		Volume struct {
			Mountpoint string
			Status     map[string]any
		}
	}
	pl, err := p.get(ctx, v.Driver)
	if err != nil || pl.call(ctx, "/VolumeDriver.Get", pluginRequest{Name: v.Name}, &out) != nil {
		return "", nil // inspect works without the driver too
	}
	return out.Volume.Mountpoint, out.Volume.Status
}
